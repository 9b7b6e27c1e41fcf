//! Who comes: from a file, from the demo data, or made for the occasion.

use std::{fmt::Write, fs, path::PathBuf};

use clap::Args;

use crate::Result;

/// Somebody who can log in.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) login: String,
    pub(crate) password: String,
    /// Whether it answers in the concierge's sessions.
    pub(crate) is_agent: bool,
}

/// Reads a file: a login and a password a line, with a tab between, and behind another one `agent` for those who answer.
pub(crate) fn read(file: &PathBuf) -> Result<Vec<Account>> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let account = |(number, line): (usize, &str)| {
        let mut parts = line.split('\t');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(login), Some(password), role) if matches!(role, None | Some("user" | "agent" | "admin")) => {
                let is_agent = role.is_some_and(|role| role != "user");
                Ok(Account { login: login.to_owned(), password: password.to_owned(), is_agent })
            }
            _ => Err(format!(
                "{}: line {} is not a login, a password and perhaps a role, with tabs between",
                file.display(),
                number + 1
            )),
        }
    };
    Ok(lines.map(account).collect::<Result<_, _>>()?)
}

/// The people of `dragoman serve --demo`.
pub(crate) fn demo() -> Vec<Account> {
    let people = ["john@example.com", "jane@example.com", "bob@example.com", "deepak@tis.co.th"].map(|login| (login, false));
    let agents = ["concierge@example.com", "admin@gmail.com"].map(|login| (login, true));
    let account = |(login, is_agent): (&str, bool)| Account { login: login.to_owned(), password: "123456".to_owned(), is_agent };
    people.into_iter().chain(agents).map(account).collect()
}

/// Makes up people: writes a file of them for `load --people`, and prints the shell's lines that add them to a server.
#[derive(Args, Debug)]
pub struct MakePeople {
    /// The file to write.
    file: PathBuf,
    /// How many.
    #[arg(long, default_value_t = 1_000)]
    count: usize,
    /// How many more who answer in the concierge's sessions.
    #[arg(long, default_value_t = 20)]
    agents: usize,
    /// The program that adds them.
    #[arg(long, default_value = "dragoman")]
    program: String,
}

impl MakePeople {
    /// Writes the file, and gives the lines.
    pub fn make(&self) -> Result<String> {
        let (mut file, mut lines) = (String::new(), String::from("set -e\n"));
        for number in 1..=self.count + self.agents {
            let role = if number <= self.count { "user" } else { "agent" };
            let (login, password) = (format!("crowd-{number}@example.com"), uuid::Uuid::new_v4().simple().to_string());
            writeln!(file, "{login}\t{password}\t{role}")?;
            let program = &self.program;
            writeln!(lines, "echo {password} | {program} user add {login} --name 'Crowd {number}' --role {role} >/dev/null")?;
        }
        fs::write(&self.file, file)?;
        Ok(lines)
    }
}
