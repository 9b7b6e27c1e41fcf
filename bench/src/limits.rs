//! The bare handlers to which the server is compared, on poem's own server, in a process of their own.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use dragoman::lifecycle::Lifecycle;
use futures_util::{SinkExt, StreamExt};
use poem::{
    EndpointExt, Request, Response, Route, Server, Upgraded,
    error::InternalServerError,
    get, handler,
    http::{StatusCode, header},
    listener::{Acceptor, TcpAcceptor},
    post,
    web::Data,
};
use sqlx::{
    AssertSqlSafe, Row,
    postgres::{PgPool, PgPoolOptions},
};
use tokio::{
    net::TcpListener,
    sync::{Notify, broadcast},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message, Utf8Bytes,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

use crate::{Result, database};

/// Size of the connection pool, the same as the server's.
const POOL: u32 = 16;
/// Read buffer of a socket, the same as the server's.
const READ_BUFFER: usize = 2048;
/// Capacity of the broadcast channel: frames that may wait for a socket's task.
const FRAMES: usize = 1024;
/// A frame as long as the server's own for a message.
const FRAME: &str = r#"{"type":"chat_message","message":{"id":"100000","local_id":null,"sender_id":"1010","content":"A message of a usual length, neither short nor long.","timestamp":"2026-01-01T00:00:00Z","status":"sent"}}"#;

/// Serves until it is killed. Without a database, handlers that need one fail.
pub(crate) async fn serve(database: Option<&str>) -> Result<()> {
    let acceptor = TcpAcceptor::from_tokio(TcpListener::bind("127.0.0.1:0").await?)?;
    let addresses = acceptor.local_addr();
    let address = addresses.first().and_then(|address| address.as_socket_addr()).ok_or("no address")?;
    let pool = match database {
        Some(url) => PgPoolOptions::new().max_connections(POOL).test_before_acquire(false).connect(url).await?,
        None => PgPool::connect_lazy("postgres://127.0.0.1:1/none")?,
    };
    let mut out = std::io::stdout();
    writeln!(out, "listens on http://{address}")?;
    out.flush()?;
    let routes = Route::new()
        .at("/constant", post(constant))
        .at("/select", post(select))
        .at("/wait", post(wait))
        .at("/notify", post(notify))
        .at("/store", post(store))
        .at("/socket", get(socket))
        .at("/tell", post(broadcast_frame))
        .data(Lifecycle::default())
        .data(broadcast::Sender::<Utf8Bytes>::new(FRAMES))
        .data(pool)
        .data(Arc::new(Notify::new()));
    Ok(Server::new_with_acceptor(acceptor).run(routes).await?)
}

fn json(body: impl Into<poem::Body>) -> Response {
    Response::builder().status(StatusCode::OK).content_type("application/json; charset=utf-8").body(body)
}

#[handler]
fn constant() -> Response {
    json(r#"{"jsonrpc":"2.0","id":1,"result":{"total_count":50,"by_type":{"chat":0,"group":50,"sms":0}}}"#)
}

#[handler]
async fn select(Data(pool): Data<&PgPool>) -> poem::Result<Response> {
    static NEXT: AtomicI64 = AtomicI64::new(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed) % 64 + 1;
    let row = sqlx::query("SELECT name FROM partners WHERE id = $1").bind(id).fetch_one(pool).await;
    let row = row.map_err(InternalServerError)?;
    let name: &str = row.try_get(0).map_err(InternalServerError)?;
    Ok(json(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"name":"{name}"}}}}"#)))
}

#[handler]
async fn wait(Data(bell): Data<&Arc<Notify>>) -> Response {
    bell.notified().await;
    json(r#"{"jsonrpc":"2.0","id":1,"result":{"has_new":true}}"#)
}

#[handler]
fn notify(Data(bell): Data<&Arc<Notify>>) -> Response {
    bell.notify_one();
    json(r#"{"jsonrpc":"2.0","id":1,"result":{"success":true}}"#)
}

/// Stores a message, and then notifies.
#[handler]
async fn store(Data(pool): Data<&PgPool>, Data(bell): Data<&Arc<Notify>>) -> poem::Result<Response> {
    let (conversation, author) = (1_i64, 2_i64);
    let statement = sqlx::query(AssertSqlSafe(database::send("$1", "$2")));
    statement.bind(conversation).bind(author).execute(pool).await.map_err(InternalServerError)?;
    bell.notify_one();
    Ok(json(r#"{"jsonrpc":"2.0","id":1,"result":{"success":true}}"#))
}

/// Forwards all broadcast frames to a socket, several in one write if they are ready, until its peer disconnects.
#[handler]
fn socket(
    request: &Request,
    Data(tasks): Data<&Lifecycle>,
    Data(told): Data<&broadcast::Sender<Utf8Bytes>>,
) -> poem::Result<Response> {
    let key = request.header(header::SEC_WEBSOCKET_KEY).ok_or(StatusCode::UPGRADE_REQUIRED)?;
    let (upgrade, told) = (request.take_upgrade()?, told.subscribe());
    tasks.spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            // An error means that the peer has disconnected.
            let _ = forward_frames(upgraded, told).await;
        }
    });
    Ok(Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()))
        .finish())
}

async fn forward_frames(upgraded: Upgraded, mut told: broadcast::Receiver<Utf8Bytes>) -> Result<(), Error> {
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    let mut stream = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
    loop {
        tokio::select! {
            frame = told.recv() => {
                let mut next = frame.ok();
                while let Some(frame) = next {
                    stream.feed(Message::Text(frame)).await?;
                    next = told.try_recv().ok();
                }
                stream.flush().await?;
            }
            heard = stream.next() => drop(heard.ok_or(Error::ConnectionClosed)??),
        }
    }
}

#[handler]
fn broadcast_frame(Data(told): Data<&broadcast::Sender<Utf8Bytes>>) -> poem::Result<Response> {
    told.send(Utf8Bytes::from_static(FRAME)).map_err(InternalServerError)?;
    Ok(json(r#"{"jsonrpc":"2.0","id":1,"result":{"success":true}}"#))
}
