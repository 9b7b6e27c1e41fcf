//! Tests of a database that is unusable or unreachable: the start and each command fail with one line that names it, the cause
//! and the remedy.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::support::{Backend, Cluster, run, until};

const COMMANDS: [&[&str]; 4] = [
    &["serve", "--listen", "127.0.0.1:0", "--log-format", "text"],
    &["migrate"],
    &["user", "deactivate", "bob@example.com"],
    &["user", "list"],
];

/// Runs the program, and returns its output, which is one line.
async fn refusal(backend: &Backend, arguments: &[&str]) -> String {
    let environment = [("DRAGOMAN__STORAGE", backend.url()), ("DRAGOMAN__POSTGRES__ACQUIRE_MILLISECONDS", "500")];
    let output = run(arguments, &environment, "").await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{arguments:?}: {told}");
    assert_eq!(told.lines().filter(|line| line.starts_with("dragoman: ")).count(), 1, "{arguments:?}: {told}");
    assert_eq!(told.lines().count(), 1, "{arguments:?}: {told}");
    told
}

async fn refused(backend: &Backend, says: &[&str]) {
    for arguments in COMMANDS {
        let told = refusal(backend, arguments).await;
        for word in says {
            assert!(told.contains(word), "{arguments:?}: {word} in {told}");
        }
        assert!(!told.contains("s3cret"), "{told}");
    }
}

async fn admin() -> (PgConnection, String) {
    let backend = Backend::empty_postgres().await;
    let mut admin = PgConnection::connect(backend.url()).await.unwrap();
    admin.execute("SELECT").await.unwrap();
    (admin, backend.url().to_owned())
}

fn at(url: &str, from: &str, to: &str) -> Backend {
    assert!(url.contains(from), "{url}");
    Backend::at(url.replacen(from, to, 1))
}

#[tokio::test]
async fn an_encoding_other_than_utf8_is_refused() {
    let (mut admin, url) = admin().await;
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = format!("encoded_{}", uuid::Uuid::new_v4().simple());
        let create = format!("CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
        admin.execute(AssertSqlSafe(create)).await.unwrap();
        let (server, _) = url.rsplit_once('/').unwrap();
        let backend = Backend::at(format!("{server}/{name}"));
        refused(&backend, &[encoding, "UTF8", &name, "createdb --encoding UTF8"]).await;
    }
}

#[tokio::test]
async fn where_nobody_is_or_lets_nobody_in_is_said() {
    let (mut admin, url) = admin().await;
    let host = url.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
    let name = url.rsplit_once('/').unwrap().1.to_owned();
    refused(&Backend::at("postgres://ann:s3cret@127.0.0.1:1/chat".into()), &["127.0.0.1:1/chat", "refused", "listen_addresses"])
        .await;
    refused(&Backend::at("postgres://ann:s3cret@no.such.invalid/chat".into()), &["no.such.invalid", "host name unknown", "DNS"])
        .await;
    refused(&at(&url, &name, "no_such_database"), &[&host, "no_such_database", "does not exist", "createdb"]).await;
    refused(&at(&url, "//postgres@", "//nobody:s3cret@"), &[&host, "nobody", "does not exist", "pg_hba.conf"]).await;
    refused(&at(&url, &name, &format!("{name}?sslmode=require")), &[&host, "TLS", "sslmode"]).await;

    let role = format!("poor_{name}");
    for statement in
        [format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 0"), "REVOKE CREATE ON SCHEMA public FROM public".to_owned()]
    {
        admin.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    let poor = at(&url, "//postgres@", &format!("//{role}:s3cret@"));
    refused(&poor, &[&host, "too many connections", "postgres.max_connections"]).await;
    admin.execute(AssertSqlSafe(format!("ALTER ROLE {role} CONNECTION LIMIT 5"))).await.unwrap();
    let told = refusal(&poor, &["migrate"]).await;
    assert!(told.contains("permission denied for schema public") && told.contains("GRANT"), "{told}");
    // Database without a migration.
    let told = refusal(&Backend::at(url), &["user", "list"]).await;
    assert!(told.contains("\"users\" does not exist") && told.contains("dragoman migrate"), "{told}");
}

/// Read-only databases, such as a standby: refused for writing commands, allowed for reading ones.
#[tokio::test]
async fn what_takes_no_writes_is_refused_to_who_writes() {
    let cluster = Cluster::start().await;
    let backend = cluster.backend();
    backend.administer(&["migrate"], "").await;
    backend.administer(&["user", "add", "ann@example.com", "--name", "Ann"], "a password").await;
    let writing = [COMMANDS[0], COMMANDS[1], COMMANDS[2], &["serve", "--listen", "127.0.0.1:0", "--no-migrate"]];
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let set = "ALTER DATABASE postgres SET default_transaction_read_only = on";
    database.execute(set).await.unwrap();
    for arguments in writing {
        let told = refusal(&backend, arguments).await;
        assert!(told.contains("default_transaction_read_only") && told.contains("name the writer"), "{told}");
    }
    assert!(backend.administer(&["user", "list"], "").await.contains("ann@example.com"));
    cluster.become_standby().await;
    until("the standby", async || PgConnection::connect(backend.url()).await.ok()).await;
    for arguments in writing {
        let told = refusal(&backend, arguments).await;
        assert!(told.contains("a standby") && told.contains("name the primary"), "{told}");
    }
    assert!(backend.administer(&["user", "list"], "").await.contains("ann@example.com"));
}

/// Missing privilege on the sequences: refused at the start, since a restart of the event log after a failover would need it.
#[tokio::test]
async fn a_user_who_may_not_set_the_sequences_is_refused() {
    let (mut admin, url) = admin().await;
    Backend::at(url.clone()).administer(&["migrate"], "").await;
    let name = url.rsplit_once('/').unwrap().1.to_owned();
    let role = format!("limited_{name}");
    let may = async |admin: &mut PgConnection, what: &str, on: &str| {
        admin.execute(AssertSqlSafe(format!("GRANT {what} ON ALL {on} IN SCHEMA public TO {role}"))).await.unwrap();
    };
    admin.execute(AssertSqlSafe(format!("CREATE ROLE {role} LOGIN"))).await.unwrap();
    may(&mut admin, "ALL", "TABLES").await;
    may(&mut admin, "USAGE", "SEQUENCES").await;
    let limited = at(&url, "//postgres@", &format!("//{role}@"));
    let serve = ["serve", "--listen", "127.0.0.1:0", "--no-migrate"];
    for arguments in [&serve[..], COMMANDS[2]] {
        let told = refusal(&limited, arguments).await;
        assert!(told.contains("may not set: public.") && told.contains("GRANT ALL ON ALL SEQUENCES"), "{told}");
    }
    may(&mut admin, "ALL", "SEQUENCES").await;
    limited.administer(&["user", "add", "ann@example.com", "--name", "Ann"], "a password").await;
}

/// Migration behind a lock of a busy table: it does not block other statements, reports the lock, and completes.
#[tokio::test]
async fn a_migration_that_waits_for_a_lock_says_so_and_lets_others_go_on() {
    let backend = Backend::postgres().await;
    backend.administer(&["migrate"], "").await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let mut holder = database.begin().await.unwrap();
    // Lock that the last migration needs.
    holder.execute("LOCK TABLE _sqlx_migrations IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let server = crate::support::Server::builder(backend.clone());
    let starting = tokio::spawn(server.start());
    let mut other = PgConnection::connect(backend.url()).await.unwrap();
    until("a try that ends", async || {
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '_sqlx_migrations'::regclass";
        let waits: i64 = sqlx::query_scalar(waits).fetch_one(&mut other).await.unwrap();
        (waits > 0).then_some(())
    })
    .await;
    until("a pause between two tries", async || {
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '_sqlx_migrations'::regclass";
        let waits: i64 = sqlx::query_scalar(waits).fetch_one(&mut other).await.unwrap();
        (waits == 0).then_some(())
    })
    .await;
    holder.rollback().await.unwrap();
    let mut server = starting.await.unwrap();
    assert!(server.log().contains("migration waits for a lock"), "{}", server.log());
    server.stop().await;
}
