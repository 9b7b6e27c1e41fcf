//! Tests of crashes: whatever was acknowledged is there again.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use storage::{ConversationId, Error, Storage, Users};

use crate::people::{Dice, say};
use crate::{expect_intact, furnish, open, shared, texts};

/// Path of the file of the child.
const FILE: &str = "DRAGOMAN_TEST_SQLITE_FILE";
/// Number of rounds, if it is not 10.
const ROUNDS: &str = "DRAGOMAN_TEST_SQLITE_ROUNDS";
/// The most messages of one round.
const MESSAGES: usize = 60;

fn rounds() -> usize {
    std::env::var(ROUNDS).map_or(10, |rounds| rounds.parse().unwrap())
}

/// A process that posts messages as fast as it can. It prints the text of each once it is committed.
struct Poster {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Poster {
    fn start(file: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::posts_until_it_is_killed", "--ignored", "--nocapture"])
            .env(FILE, file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// The next text that was committed; `None` once the process is dead.
    fn next(&mut self) -> Option<String> {
        self.lines.by_ref().map(Result::unwrap).find_map(|line| Some(line.strip_prefix("posted ")?.to_owned()))
    }

    /// Stops all threads of the process where they are.
    fn stop(&self) {
        self.signal("STOP");
        let threads = format!("/proc/{}/task", self.process.id());
        let is_stopped = || {
            fs::read_dir(&threads).unwrap().all(|thread| {
                let status = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
                status.rsplit(") ").next().unwrap().starts_with('T')
            })
        };
        while !is_stopped() {
            std::thread::yield_now();
        }
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([&format!("-{signal}"), &self.process.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Poster {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Not a test: the child of the others.
#[tokio::test]
#[ignore = "runs for ever, as a child of other tests"]
async fn posts_until_it_is_killed() {
    let Ok(file) = std::env::var(FILE) else { return };
    let store = open(file.as_ref()).await;
    store.lock_exclusive().unwrap();
    let (ann, room) = match texts(&store).await.len() {
        0 => furnish(&store).await,
        _ => (store.user_by_login("ann").await.unwrap().unwrap(), ConversationId(1)),
    };
    for number in texts(&store).await.len() + 1.. {
        say(&shared(&store), room, &ann, &number.to_string()).await;
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nposted {number}").unwrap();
        out.flush().unwrap();
    }
}

#[tokio::test]
async fn a_kill_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dragoman.db");
    let mut dice = Dice::new(1);
    for round in 0..rounds() {
        let mut poster = Poster::start(&file);
        let mut acknowledged = None;
        for _ in 0..=dice.roll(MESSAGES) {
            acknowledged = poster.next();
        }
        if round == 0 {
            let beside = open(&file).await;
            assert!(matches!(beside.lock_exclusive(), Err(Error::Unavailable(_))), "one server at a time");
            let mut tx = beside.begin().await.unwrap();
            tx.secret("name", "written by a command beside the server").await.unwrap();
            tx.commit().await.unwrap();
            beside.close().await;
        }
        poster.process.kill().unwrap();
        while let Some(text) = poster.next() {
            acknowledged = Some(text);
        }
        let store = open(&file).await;
        store.lock_exclusive().expect("the lock ends with its process");
        let texts = texts(&store).await;
        assert!(texts.iter().cloned().eq((1..=texts.len()).map(|number| number.to_string())), "round {round}");
        assert!(texts.len() >= acknowledged.unwrap().parse().unwrap(), "round {round}: an acknowledged message is lost");
        store.close().await;
        expect_intact(&file).await;
    }
}

#[tokio::test]
async fn a_copy_of_the_files_holds_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dragoman.db");
    let mut dice = Dice::new(2);
    let mut poster = Poster::start(&file);
    for round in 0..rounds() {
        let mut acknowledged = None;
        for _ in 0..=dice.roll(MESSAGES) {
            acknowledged = poster.next();
        }
        let copy = directory.path().join(format!("copy{round}.db"));
        poster.stop();
        for suffix in ["", "-wal"] {
            fs::copy(format!("{}{suffix}", file.display()), format!("{}{suffix}", copy.display())).unwrap();
        }
        poster.signal("CONT");
        let store = open(&copy).await;
        let texts = texts(&store).await;
        assert!(texts.iter().cloned().eq((1..=texts.len()).map(|number| number.to_string())), "round {round}");
        assert!(texts.len() >= acknowledged.unwrap().parse().unwrap(), "round {round}: an acknowledged message is lost");
        store.close().await;
        expect_intact(&copy).await;
    }
}
