//! The bare handlers beside which the server is measured, on poem's own server, in a process of their own.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use poem::{
    EndpointExt, Response, Route, Server,
    error::InternalServerError,
    handler,
    http::StatusCode,
    listener::{Acceptor, TcpAcceptor},
    post,
    web::Data,
};
use sqlx::{
    AssertSqlSafe, Row,
    postgres::{PgPool, PgPoolOptions},
};
use tokio::{net::TcpListener, sync::Notify};

use crate::{Result, database};

/// As many connections to the database as the server has.
const POOL: u32 = 16;

/// Serves until it is killed. What needs a database answers only if there is one.
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

/// The same once a message is stored.
#[handler]
async fn store(Data(pool): Data<&PgPool>, Data(bell): Data<&Arc<Notify>>) -> poem::Result<Response> {
    let (conversation, author) = (1_i64, 2_i64);
    let statement = sqlx::query(AssertSqlSafe(database::send("$1", "$2")));
    statement.bind(conversation).bind(author).execute(pool).await.map_err(InternalServerError)?;
    bell.notify_one();
    Ok(json(r#"{"jsonrpc":"2.0","id":1,"result":{"success":true}}"#))
}
