//! The listener: how many may be connected, and how long a connection may keep us waiting.
//!
//! axum's own loop waits for ever for a request that is begun and never ended, and for as many of them as there are file
//! descriptors. And hyper answers header lines that are too long with a bare 431 while the client still writes; so the
//! first head of a connection is read here, as far as it may go, and what is longer is read on, thrown away and refused
//! like everything else. (Of a later head on the same connection the bare 431 remains.)

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::limits::{BODY_PATIENCE, CONNECTIONS_MAX, DISCARDED_BYTES_MAX, HEADER_BYTES_MAX, HEADER_PATIENCE};
use crate::problem::Problem;

/// How long to wait when a connection cannot be taken, as when the file descriptors are used up.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stopped`; then takes nothing new and lets what is under way end.
pub async fn serve(listener: TcpListener, router: Router, stopped: impl Future<Output = ()>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE).max_header_size(HEADER_BYTES_MAX);
    let (places, graceful) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), GracefulShutdown::new());
    let (stop, stopping) = watch::channel(false);
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let place = places.clone().acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stopped => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection cannot be taken: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Answers are short and whole: none waits for the next one.
        let _ = stream.set_nodelay(true);
        let (router, http, watcher, mut stopping) =
            (router.clone(), http.clone(), graceful.watcher(), stopping.clone());
        tokio::spawn(async move {
            let begun = tokio::select! {
                begun = begin(stream) => begun,
                _ = stopping.wait_for(|stopping| *stopping) => None,
            };
            let Some(stream) = begun else { return };
            let service = service_fn(move |request| answer(router.clone(), peer, request));
            let connection = watcher.watch(http.serve_connection(TokioIo::new(stream), service));
            // A client that went away is no news.
            if let Err(error) = connection.await {
                tracing::debug!("a connection ended: {error}");
            }
            drop(place);
        });
    }
    drop(listener);
    let _ = stop.send(true);
    graceful.shutdown().await;
}

/// A connection whose first head is read already.
struct Begun {
    head: Bytes,
    stream: TcpStream,
}

/// Reads the first head. `None` when there is nothing more to do with the connection.
async fn begin(mut stream: TcpStream) -> Option<Begun> {
    let mut head = Vec::with_capacity(HEAD_BYTES_EXPECTED);
    match timeout(HEADER_PATIENCE, read_head(&mut stream, &mut head)).await {
        Ok(Ok(Head::Whole)) => Some(Begun { head: head.into(), stream }),
        Ok(Ok(Head::TooLong)) => {
            let _ = timeout(BODY_PATIENCE, refuse(&mut stream, head)).await;
            None
        }
        Ok(Err(_)) | Err(_) => None,
    }
}

enum Head {
    Whole,
    TooLong,
}

async fn read_head(stream: &mut TcpStream, head: &mut Vec<u8>) -> io::Result<Head> {
    loop {
        let from = head.len().saturating_sub(HEAD_END_BYTES);
        if stream.read_buf(head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match end(head.get(from..).unwrap_or_default()) {
            Some(place) if from.saturating_add(place) <= HEADER_BYTES_MAX => return Ok(Head::Whole),
            None if head.len() <= HEADER_BYTES_MAX => {}
            _ => return Ok(Head::TooLong),
        }
    }
}

/// What most heads fit into.
const HEAD_BYTES_EXPECTED: usize = 4 * 1024;

/// The longest end of a head, less one: what two reads can tear apart.
const HEAD_END_BYTES: usize = 2;

/// Where an empty line stands. Lines may end in a bare line feed (RFC 9112 section 2.2).
fn end(bytes: &[u8]) -> Option<usize> {
    let bare = bytes.windows(2).position(|two| two == b"\n\n");
    let whole = bytes.windows(3).position(|three| three == b"\n\r\n");
    bare.into_iter().chain(whole).min()
}

/// The answer comes when the client has written what it wanted to: before, it would not read it.
async fn refuse(stream: &mut TcpStream, mut tail: Vec<u8>) -> io::Result<()> {
    let mut length = tail.len();
    while end(&tail).is_none() && length <= DISCARDED_BYTES_MAX {
        let keep = tail.len().saturating_sub(HEAD_END_BYTES);
        tail.drain(..keep);
        match stream.read_buf(&mut tail).await? {
            0 => break,
            read => length = length.saturating_add(read),
        }
    }
    let detail = format!("header lines of at most {HEADER_BYTES_MAX} bytes were expected, more came");
    let status = http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    let body = Problem::new(status, "headers_too_large", detail).to_json().to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

impl AsyncRead for Begun {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.head.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let part = this.head.split_to(this.head.len().min(buffer.remaining()));
        buffer.put_slice(&part);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

async fn answer(
    router: Router,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<axum::response::Response, Infallible> {
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request.map(Body::new)).await
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::sync::oneshot;

    use super::*;

    async fn start() -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let peer = get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() });
        let router = Router::new().route("/", peer);
        let served = tokio::spawn(serve(listener, router, async move {
            let _ = stopped.await;
        }));
        (address, stop, served)
    }

    async fn ask(stream: &mut TcpStream) -> String {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        said
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_begins_and_does_not_go_on_is_let_go() {
        let (address, _stop, _served) = start().await;
        for begun in [&b""[..], b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: "] {
            let mut slow = TcpStream::connect(address).await.unwrap();
            slow.write_all(begun).await.unwrap();
            let mut said = Vec::new();
            let ended = tokio::time::timeout(HEADER_PATIENCE * 2, slow.read_to_end(&mut said)).await;
            assert!(ended.is_ok(), "{:?} is still waited for", String::from_utf8_lossy(begun));
        }
        let mut prompt = TcpStream::connect(address).await.unwrap();
        let said = ask(&mut prompt).await;
        assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("127.0.0.1"), "{said}");
    }

    #[tokio::test]
    async fn when_it_is_stopped_it_takes_nobody_and_ends() {
        let (address, stop, served) = start().await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut TcpStream::connect(address).await.unwrap()).await.starts_with("HTTP/1.1 200"));
        stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(5), served).await.expect("it ends").unwrap();
        let mut said = Vec::new();
        let _ = idle.read_to_end(&mut said).await;
        assert!(said.is_empty(), "an idle connection is closed");
        assert!(TcpStream::connect(address).await.is_err(), "nobody is taken any more");
    }

    #[tokio::test]
    async fn a_head_comes_in_any_pieces_and_within_bounds() {
        let (address, _stop, _served) = start().await;
        for pieces in [
            &["GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r", "\n"][..],
            &["GET / HTTP/1.1\nhost: x\nconnection: close\n", "\n"],
            &["G", "ET / HTTP/1.1\r\nho", "st: x\r\nconnection: close\r\n", "\r\n"],
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            for piece in pieces {
                stream.write_all(piece.as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let mut said = String::new();
            stream.read_to_string(&mut said).await.unwrap();
            assert!(said.starts_with("HTTP/1.1 200"), "{pieces:?}: {said}");
        }
        for bytes in [HEADER_BYTES_MAX + 1, 1024 * 1024, 3 * 1024 * 1024] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let long = format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(bytes));
            stream.write_all(long.as_bytes()).await.unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).await.unwrap();
            assert!(said.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{bytes}: {said}");
            let (_, body) = said.split_once("\r\n\r\n").unwrap();
            let problem: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!((&problem["code"], &problem["status"]), (&"headers_too_large".into(), &431.into()));
        }
    }
}
