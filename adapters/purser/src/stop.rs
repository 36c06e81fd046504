//! Being asked to stop.

use tokio::signal::unix::{SignalKind, signal as listen};

/// Ends at SIGTERM or SIGINT. Where the system gives no such signal it never ends.
pub async fn signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
