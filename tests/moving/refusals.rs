//! Moves and servers that are refused, each with one line that says why.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::{dump::dump, files_in, move_store, refused, refused_server, succeeded};
use crate::{
    support::{Backend, MARKER, Server, run},
    upgrade::fixture::Fixture,
};

/// A new store of each kind.
async fn new_stores() -> [Backend; 2] {
    [Backend::sqlite(), Backend::empty_postgres().await]
}

/// A store of each kind that a server has filled.
async fn filled_stores() -> [Backend; 2] {
    let stores = [Backend::sqlite(), Backend::postgres().await];
    for store in &stores {
        Server::demo(store.clone()).await.stop().await;
    }
    stores
}

async fn move_rows(from: &Backend, to: &Backend) -> std::process::Output {
    let directory = tempfile::tempdir().unwrap();
    let files = super::files_in(&directory);
    move_store((from, &files), (to, &files), &[]).await
}

/// A server on either end: nothing is moved, and the server goes on.
#[tokio::test]
async fn no_server_runs_on_either_end() {
    for store in [Backend::sqlite(), Backend::postgres().await] {
        let mut server = Server::demo(store.clone()).await;
        for empty in new_stores().await {
            let said = refused(&move_rows(&store, &empty).await);
            assert!(said.contains("stop"), "{said}");
        }
        for from in filled_stores().await {
            let said = refused(&move_rows(&from, &store).await);
            assert!(said.contains("stop"), "{said}");
            Server::builder(from).empty().start().await.stop().await;
        }
        server.ready().await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_store_that_holds_something_is_no_target() {
    for from in filled_stores().await {
        for to in filled_stores().await {
            let said = refused(&move_rows(&from, &to).await);
            assert!(said.contains("is not empty"), "{said}");
            Server::builder(to).empty().start().await.stop().await;
        }
        Server::builder(from).empty().start().await.stop().await;
    }
}

/// A store that a server has opened once, without any user, is empty all the same.
#[tokio::test]
async fn a_store_that_nobody_has_used_is_a_target() {
    for to in new_stores().await {
        Server::builder(to.clone()).empty().start().await.stop().await;
        succeeded(&move_rows(&filled_stores().await[0], &to).await);
        let listed = to.administer(&["user", "list"], "").await;
        assert!(listed.contains(crate::support::JOHN), "{listed}");
    }
}

/// A store that was moved is served again only if its operator insists.
#[tokio::test]
async fn a_moved_store_is_not_served() {
    for from in filled_stores().await {
        let [to, another] = new_stores().await;
        succeeded(&move_rows(&from, &to).await);
        let said = refused_server(&from).await;
        assert!(said.contains(&format!("was moved to {}", to.url())) && said.contains("--after-all"), "{said}");
        let said = refused(&from.run(&["group", "add", "New"], "").await);
        assert!(said.contains("was moved to"), "{said}");
        let said = refused(&move_rows(&from, &another).await);
        assert!(said.contains("was moved to"), "{said}");

        // The flag removes the mark.
        let said = from.run(&["serve", "--listen", "256.0.0.1:0", "--after-all"], "").await;
        assert!(String::from_utf8_lossy(&said.stderr).contains("listen"), "{said:?}");
        Server::builder(from.clone()).empty().start().await.stop().await;
        succeeded(&move_rows(&from, &another).await);
        let said = refused_server(&from).await;
        assert!(said.contains("was moved to postgres://") && !said.contains('@'), "{said}");
    }
}

#[tokio::test]
async fn what_cannot_be_moved_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| format!("sqlite:{}", directory.path().join(name).display());
    let [filled, database] = filled_stores().await;
    let line = async |from: &str, to: &str, expected: &str| {
        let said = refused(&run(&["move", "--from", from, "--to", to], &[], "").await);
        assert!(said.contains(expected), "{from} {to}: {said}");
    };
    line(&file("none.db"), &file("new.db"), "no such file").await;
    line("memory:", &file("new.db"), "--from: memory:").await;
    line(filled.url(), "memory:", "--to: memory:").await;
    line("mysql://localhost", &file("new.db"), "--from must be sqlite:<file>").await;
    line(filled.url(), "sqlite:", "--to must name a file").await;
    line(filled.url(), filled.url(), "both --from and --to").await;
    line(database.url(), database.url(), "both --from and --to").await;
    assert!(!directory.path().join("none.db").exists());

    // A schema of another version is its operator's to migrate.
    let fixture = Fixture::of("0.1.0").await;
    line(fixture.backend.url(), &file("new.db"), "dragoman migrate").await;
    std::fs::write(directory.path().join("text.db"), "This is no database. ".repeat(1_000)).unwrap();
    line(&file("text.db"), &file("new.db"), "text.db").await;
}

/// A role that may do everything with the tables of a database but what only their owner may.
#[tokio::test]
async fn a_database_is_filled_by_its_owner_alone() {
    const WORKSPACES: &str = "SELECT count(*) FROM workspace WHERE key = 'workspace'";
    let (from, to) = (Backend::sqlite(), Backend::postgres().await);
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [there, here] = directories.each_ref().map(files_in);
    Server::builder(from.clone()).set("FILES", &there).start().await.stop().await;
    let mut database = PgConnection::connect(to.url()).await.unwrap();
    let role = format!("limited_{}", uuid::Uuid::new_v4().simple());
    let grant = format!(
        "CREATE ROLE {role}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role};
        GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}; GRANT ALL ON SCHEMA public TO {role}"
    );
    database.execute(sqlx::raw_sql(AssertSqlSafe(grant))).await.unwrap();
    let before = dump(&to).await;
    let limited = Backend::at(format!("{}?options=-c%20role%3D{role}", to.url()));
    let said = refused(&move_store((&from, &there), (&limited, &here), &[]).await);
    assert!(said.contains("its tables belong to"), "{said}");
    assert!(dump(&to).await == before && !directories[1].path().join(MARKER).exists(), "nothing is written");
    let workspaces: i64 = sqlx::query_scalar(WORKSPACES).fetch_one(&mut database).await.unwrap();
    assert_eq!(workspaces, 0, "no mark is left");
    let revoke = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    database.execute(sqlx::raw_sql(AssertSqlSafe(revoke))).await.unwrap();
    succeeded(&move_store((&from, &there), (&to, &here), &[]).await);
}
