//! Fixtures of the migration tests: an earlier release's store and files, and the handles and answers that its clients kept.
//! All times are moved to the present, as if that server had stopped a minute ago.

use std::{collections::BTreeMap, fs, path::Path};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::process::Command;

use super::answers::Answers;
use crate::support::{Answer, Backend, Client, Server, ServerBuilder, Socket, files_below, run, run_to_its_end};

/// The store of an earlier release in a database of its own.
pub struct Fixture {
    pub backend: Backend,
    /// Handles that its clients keep, and the release's answers to them.
    pub kept: Value,
    pub answers: Answers,
    files: TempDir,
}

/// SQL that moves all times of the store, also those in the facts of the event log, by `$1` seconds.
const MOVE_TIMES: &str = r#"
    DO $do$ DECLARE moved record; BEGIN
        FOR moved IN SELECT table_name, string_agg(format('%1$I = %1$I + interval ''$1 s''', column_name), ', ') AS columns
            FROM information_schema.columns
            WHERE table_schema = 'public' AND data_type = 'timestamp with time zone' GROUP BY table_name
        LOOP
            EXECUTE format('UPDATE public.%I SET %s', moved.table_name, moved.columns);
        END LOOP;
    END $do$;
    UPDATE public.events SET fact = (
        SELECT string_agg(CASE WHEN part ~ '^\d{4}-\d\d-\d\dT[\d:.]+Z$'
            THEN to_char((part::timestamptz + interval '$1 s') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
            ELSE part END, '"' ORDER BY number)
        FROM string_to_table(fact::text, '"') WITH ORDINALITY AS parts (part, number)
    )::json;
"#;

impl Fixture {
    pub async fn of(release: &str) -> Self {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upgrade");
        let kept = fs::read(home.join(format!("{release}.json"))).expect("a release has its handles");
        let kept: Value = serde_json::from_slice(&kept).expect("the handles are JSON");
        let time = |name: &str| -> DateTime<Utc> { kept[name].as_str().and_then(|text| text.parse().ok()).expect("a time") };
        let (began, stopped) = (time("began"), time("stopped"));
        // Whole seconds, since many answers show no fractions.
        let moved = TimeDelta::seconds((Utc::now() - TimeDelta::minutes(1) - stopped).num_seconds());

        let dump = run_to_its_end(Command::new("gzip").arg("-dc").arg(home.join(format!("{release}.sql.gz")))).await;
        let backend = Backend::empty_postgres().await;
        let mut database = PgConnection::connect(backend.url()).await.expect("the throwaway PostgreSQL is up");
        let load = dump + &MOVE_TIMES.replace("$1", &moved.num_seconds().to_string());
        sqlx::raw_sql(AssertSqlSafe(load)).execute(&mut database).await.expect("the dump is SQL");

        let files = tempfile::tempdir().expect("a directory can be made");
        let origin = home.join(format!("{release}.files"));
        for file in files_below(&origin) {
            let copy = files.path().join(file.strip_prefix(&origin).expect("it lies there"));
            fs::create_dir_all(copy.parent().expect("it has a directory")).expect("the directory is ours");
            fs::copy(&file, copy).expect("the directory is ours");
        }
        Self { backend, answers: Answers { began, stopped, moved }, kept, files }
    }

    /// Builder of a server of this program on the store.
    pub fn server(&self) -> ServerBuilder {
        let text = |name: &str| self.kept[name].as_str().expect("it is a text").to_owned();
        let server = Server::builder(self.backend.clone()).empty();
        let server = server.set("FILES", format!("file:{}", self.files.path().display()));
        server.set("TOKENS__SECRET", text("secret")).set("BASE_URL", text("base_url"))
    }

    /// Address of its files.
    pub fn files(&self) -> String {
        format!("file:{}", self.files.path().display())
    }

    /// The store and its files after a move.
    pub async fn moved_to(self, backend: Backend) -> Self {
        self.backend.administer(&["migrate"], "").await;
        let files = tempfile::tempdir().expect("a directory can be made");
        let to_files = format!("file:{}", files.path().display());
        let [from, to] = [self.backend.url(), backend.url()];
        let arguments = ["move", "--from", from, "--to", to, "--from-files", &self.files(), "--to-files", &to_files];
        let output = run(&arguments, &[], "").await;
        assert!(output.status.success(), "{output:?}");
        Self { backend, files, ..self }
    }

    pub fn count_files(&self) -> usize {
        files_below(self.files.path()).len()
    }

    /// Row counts of these tables.
    pub async fn count_rows(&self, tables: &[&'static str]) -> BTreeMap<&'static str, i64> {
        let mut counts = BTreeMap::new();
        for table in tables {
            let count = format!("SELECT count(*) FROM {table}");
            let counted = match self.backend.url().strip_prefix("sqlite:") {
                None => {
                    let mut database = PgConnection::connect(self.backend.url()).await.expect("the throwaway PostgreSQL is up");
                    sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut database).await
                }
                Some(file) => {
                    let options = SqliteConnectOptions::new().filename(file).read_only(true);
                    let mut database = options.connect().await.expect("the file is there");
                    sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut database).await
                }
            };
            counts.insert(*table, counted.expect("the table is there"));
        }
        counts
    }

    /// A handle that a client of the release kept.
    pub fn of_person(&self, name: &str, what: &str) -> &str {
        let kept = &self.kept["people"][name][what];
        kept.as_str().unwrap_or_else(|| panic!("{name} has kept a {what}"))
    }

    /// A client with its kept cookie.
    pub fn client(&self, server: &Server, name: &str) -> Client {
        server.client().with_session(Some(self.of_person(name, "cookie")))
    }

    /// A socket of a conversation, with the client's kept token.
    pub async fn conversation(&self, server: &Server, name: &str, thread: &Value) -> Socket {
        let access = self.of_person(name, "access");
        Socket::open(server.socket_url(&format!("/conversations/{thread}/?token={access}"))).await
    }

    /// A connection to the support chat, with the client's kept token.
    pub async fn desk(&self, server: &Server, name: &str) -> Desk {
        let path = format!("/concierge?Auth={}&deviceId=device-of-{name}", self.of_person(name, "access"));
        let mut socket = Socket::open(server.socket_url(&path)).await;
        assert_eq!(socket.hear().await["status"], 200, "{name} is connected");
        Desk(socket)
    }

    /// Sends a request of the fixture in the dialect that it names.
    pub async fn ask(&self, server: &Server, asked: &Value) -> Value {
        let text = |member: &str| asked[member].as_str().unwrap_or_else(|| panic!("{member} is a text: {asked}"));
        let (by, params) = (text("by"), asked["ask"].clone());
        match text("way") {
            "call" => self.client(server, by).result(text("at"), params).await,
            "get" => {
                let request = server.client().request(Method::GET, text("at")).bearer_auth(self.of_person(by, "access"));
                Answer::of(request).await.json()
            }
            "conversation" => {
                let mut socket = self.conversation(server, by, &asked["at"]).await;
                socket.say(params).await;
                let fetched = socket.hear_until(|told| told["type"] == "messages_fetched").await;
                socket.close().await;
                fetched
            }
            "concierge" => {
                let mut desk = self.desk(server, by).await;
                let answer = desk.ask(text("at"), params).await;
                desk.0.close().await;
                answer
            }
            way => panic!("there is no way {way}"),
        }
    }

    /// Checks that a server answers as the release did.
    pub async fn check(&self, server: &Server, asked: &Value) {
        self.compare(asked, &self.ask(server, asked).await);
    }

    /// Checks that an answer equals the release's, and holds no deleted text.
    pub fn compare(&self, asked: &Value, now: &Value) {
        let place = format!("{} {} {}", asked["by"], asked["at"], asked["ask"]);
        self.answers.check(&place, &asked["answer"], now);
        for deleted in items(&self.kept["deleted"]) {
            assert!(!now.to_string().contains(deleted.as_str().expect("it is a text")), "{place}: {now}");
        }
    }
}

pub fn items(list: &Value) -> &[Value] {
    list.as_array().unwrap_or_else(|| panic!("it is a list: {list}"))
}

/// A connection to the support chat.
pub struct Desk(pub Socket);

impl Desk {
    /// Sends a request. Returns the whole answer.
    pub async fn answer(&mut self, route: &str, body: Value) -> Value {
        self.0.say(json!({"action": "api", "data": {"route": route, "body": body}})).await;
        self.0.hear_until(|told| told["channel"] == route).await
    }

    /// Sends a request. Returns the body of its successful answer.
    pub async fn ask(&mut self, route: &str, body: Value) -> Value {
        let mut answer = self.answer(route, body).await;
        assert_eq!(answer["status"], 200, "{route}: {answer}");
        answer["body"].take()
    }
}
