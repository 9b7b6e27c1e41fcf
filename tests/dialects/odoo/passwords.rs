//! Tests of imported password hashes.

use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::{AUTHENTICATE, credentials, fault};
use crate::support::{ADMIN, Backend, JOHN, PASSWORD, Server};

/// Hashes of the demo data's password from other programs.
const HASHES: [(&str, &str); 3] = [
    (
        "Odoo",
        "$pbkdf2-sha512$25000$w1ir1ToHIOT8n5MyppQS4g$.aR9UHk1pr4VKQhWE5AFAVSJ.IH0cL0iqBAGspIOAhcXQm0UGdtouPxtypawiEM2Pa61BLGAsEce/lrj7KcK/Q",
    ),
    ("Django", "pbkdf2_sha256$1000$seasalt$wxsI9J+cuhi3pYmUMv3D1TyYQ5enFJPYcR+hMgJj7UU="),
    ("bcrypt", "$2b$04$r2ZToELUG5XBpGi3vnZadOTRJQCyEruYdaA8VfoITqf.bMsvKMmfa"),
];

async fn stored_hash(database: &mut PgConnection, login: &str) -> String {
    sqlx::query_scalar("SELECT password_hash FROM users WHERE login = $1").bind(login).fetch_one(database).await.unwrap()
}

/// Imported hash: replaced at the first login; the second login uses the new one.
#[tokio::test]
async fn imported_hashes_let_in_and_are_replaced() {
    let server = Server::demo(Backend::postgres().await).await;
    let mut database = PgConnection::connect(server.backend().url()).await.unwrap();
    for (from, hash) in HASHES {
        let update = sqlx::query("UPDATE users SET password_hash = $1 WHERE login = $2").bind(hash).bind(ADMIN);
        update.execute(&mut database).await.unwrap();
        let error = fault(&server.client(), AUTHENTICATE, credentials(ADMIN, "wrong")).await;
        assert_eq!(error["data"]["name"], "odoo.exceptions.AccessDenied", "{from}");
        assert_eq!(stored_hash(&mut database, ADMIN).await, hash, "{from}: a failed login changes nothing");

        server.log_in(ADMIN).await;
        let renewed = stored_hash(&mut database, ADMIN).await;
        assert!(renewed.starts_with("$argon2id$"), "{from}: {renewed}");
        server.log_in(ADMIN).await;
        assert_eq!(stored_hash(&mut database, ADMIN).await, renewed, "{from}: once is enough");
    }
}

/// Unknown hash format: the login is refused, without an internal error.
#[tokio::test]
async fn a_hash_of_an_unknown_kind_lets_nobody_in() {
    let server = Server::demo(Backend::postgres().await).await;
    let mut database = PgConnection::connect(server.backend().url()).await.unwrap();
    for hash in ["", "123456", "$md5$123456", "$pbkdf2-sha512$x"] {
        let update = sqlx::query("UPDATE users SET password_hash = $1 WHERE login = $2").bind(hash).bind(JOHN);
        update.execute(&mut database).await.unwrap();
        let error = fault(&server.client(), AUTHENTICATE, credentials(JOHN, PASSWORD)).await;
        assert_eq!(error["data"]["name"], "odoo.exceptions.AccessDenied", "{hash}");
        assert_eq!(error["data"]["arguments"], json!(["Access Denied"]), "{hash}");
    }
}
