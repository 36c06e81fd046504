//! Connections: at the proxy's own port, and in the tunnels that programs ask for, where the proxy ends their TLS.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use server::problem::Problem;
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::authority::Authority;
use super::deal::now;
use super::forward::Proxy;
use super::peer::{Peer, look};
use super::target::{End, Place, Tunnel, end, program};

/// Connected at once; whoever comes then waits to be taken.
const CONNECTIONS_MAX: usize = 512;
/// How long a connection may take to say what it wants, or wait before it wants something again.
const HEAD_PATIENCE: Duration = Duration::from_secs(60);
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(15);
/// How long to wait when a connection cannot be taken, as when the file descriptors are used up.
const PAUSE: Duration = Duration::from_millis(100);
/// How long what was begun may take to end.
const DRAIN: Duration = Duration::from_secs(4);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The first byte of TLS: a handshake record (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// What every connection needs.
pub struct Door {
    pub proxy: Arc<Proxy>,
    pub authority: Authority,
}

/// Serves until `stop`; then takes nothing new, and waits a little for what is under way. A purchase that is cut off
/// there is the same purchase when its program asks again.
pub async fn serve(door: Arc<Door>, listener: TcpListener, stop: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let door = door.clone();
                tokio::spawn(async move {
                    door.take(stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("a connection cannot be taken: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    finish(&door.proxy).await;
}

/// Requests under way hold the proxy.
async fn finish(proxy: &Arc<Proxy>) {
    let deadline = tokio::time::Instant::now() + DRAIN;
    while proxy.under_way() > 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Door {
    async fn take(self: Arc<Self>, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let peer = match (stream.peer_addr(), stream.local_addr()) {
            (Ok(from), Ok(to)) => look(from, to).await,
            _ => Peer::Another,
        };
        let service = service_fn(move |request: Request<Incoming>| {
            let door = self.clone();
            async move { Ok::<_, Infallible>(door.answer(peer, request).await) }
        });
        let connection = settings().serve_connection(TokioIo::new(stream), service).with_upgrades();
        // A program that went away is no news.
        if let Err(error) = connection.await {
            tracing::debug!("a connection ended: {error}");
        }
    }

    async fn answer(self: Arc<Self>, peer: Peer, request: Request<Incoming>) -> Response {
        if peer == Peer::Another {
            let detail = "a program of the user who runs this proxy was expected, another one's came";
            return self.proxy.own_answer(&Problem::new(StatusCode::FORBIDDEN, "peer_refused", detail));
        }
        if request.method() == Method::CONNECT {
            return self.connect(request);
        }
        self.proxy.clone().answer(Place::Door, now(), request).await
    }

    fn connect(self: Arc<Self>, request: Request<Incoming>) -> Response {
        let asked = end(request.uri()).and_then(|end| {
            let url = format!("http://{}:{}/", end.host, end.port).parse();
            let url = url.map_err(|_| Problem::invalid("CONNECT", "host:port was expected"))?;
            self.proxy.own.check_loop(&url, request.headers()).map(|()| end)
        });
        let end = match asked {
            Ok(end) => end,
            Err(problem) => return self.proxy.own_answer(&problem),
        };
        let program = program(request.headers());
        tokio::spawn(async move {
            match hyper::upgrade::on(request).await {
                Ok(stream) => self.tunnel(TokioIo::new(stream), end, program).await,
                Err(error) => tracing::debug!("a tunnel did not begin: {error}"),
            }
        });
        Response::new(Body::empty())
    }

    /// TLS is ended here; what is not TLS is plain HTTP, as some clients send it through tunnels too.
    async fn tunnel<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        self: Arc<Self>,
        mut stream: S,
        end: End,
        program: String,
    ) {
        let mut first = [0];
        if !matches!(timeout(HEAD_PATIENCE, stream.read_exact(&mut first)).await, Ok(Ok(_))) {
            return;
        }
        let (reader, writer) = tokio::io::split(stream);
        let stream = tokio::io::join(std::io::Cursor::new(first).chain(reader), writer);
        if first != [TLS_HANDSHAKE] {
            return self.within(stream, Tunnel { scheme: "http", end, program }).await;
        }
        let config = match self.authority.server(&end.host, OffsetDateTime::now_utc()) {
            Ok(config) => config,
            Err(why) => return tracing::warn!("{why}"),
        };
        match timeout(HANDSHAKE_PATIENCE, TlsAcceptor::from(config).accept(stream)).await {
            Ok(Ok(stream)) => self.within(stream, Tunnel { scheme: "https", end, program }).await,
            Ok(Err(error)) => tracing::warn!(
                "a program and the proxy did not agree on TLS for {}: {error}; does it trust the certificate?",
                end.host
            ),
            Err(_) => tracing::debug!("a handshake took too long"),
        }
    }

    async fn within<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(self: Arc<Self>, stream: S, tunnel: Tunnel) {
        let place = Place::Tunnel(tunnel);
        let service = service_fn(move |request: Request<Incoming>| {
            let (proxy, place) = (self.proxy.clone(), place.clone());
            async move { Ok::<_, Infallible>(proxy.answer(place, now(), request).await) }
        });
        if let Err(error) = settings().serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!("a connection in a tunnel ended: {error}");
        }
    }
}

fn settings() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
    http
}
