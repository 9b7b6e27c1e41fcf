//! Commands of the program, run to their end.

use std::process::{Output, Stdio};

use tokio::{io::AsyncWriteExt, process::Command};

use super::Backend;

impl Backend {
    /// Runs a command of the program on this store, beside a running server.
    pub async fn run(&self, arguments: &[&str], input: &str) -> Output {
        run(arguments, &[("DRAGOMAN__STORAGE", self.url())], input).await
    }

    /// Runs a command that succeeds, and returns its output.
    pub async fn administer(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("it prints text")
    }
}

/// Runs the program to its end.
pub async fn run(arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Output {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let mut child = Command::new(env!("CARGO_BIN_EXE_dragoman"))
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    // Write error: possible, since the command may have ended without reading.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    child.wait_with_output().await.expect("it can be waited for")
}

/// Runs a program that succeeds, and returns all of its output.
pub async fn run_to_its_end(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("it can be started");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}
