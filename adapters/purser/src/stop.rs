//! Being asked to stop.

use tokio::signal::unix::{SignalKind, signal as listen};

/// Ends at SIGTERM or SIGINT. Where the system gives no such signal it never ends. Listens from the call on, not from
/// the first poll: whoever read that a service is ready may ask it to stop at once.
pub fn signal() -> impl Future<Output = ()> + Send + 'static {
    let listening = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = listening else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
