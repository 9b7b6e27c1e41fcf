//! Accounts of the virtual users: from a file, from the demo data, or generated.

use std::{fmt::Write, fs, path::PathBuf};

use clap::Args;

use crate::Result;

/// Login and password of a virtual user.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) login: String,
    pub(crate) password: String,
    /// True for agents, who answer in the concierge's sessions.
    pub(crate) is_agent: bool,
}

/// Reads a file of accounts: a line has login and password, separated by a tab, and `agent` behind another tab for
/// agents.
pub(crate) fn read_accounts(file: &PathBuf) -> Result<Vec<Account>> {
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

/// The accounts of `dragoman serve --demo`.
pub(crate) fn demo_accounts() -> Vec<Account> {
    let people = ["john@example.com", "jane@example.com", "bob@example.com", "deepak@tis.co.th"].map(|login| (login, false));
    let agents = ["concierge@example.com", "admin@gmail.com"].map(|login| (login, true));
    let account = |(login, is_agent): (&str, bool)| Account { login: login.to_owned(), password: "123456".to_owned(), is_agent };
    people.into_iter().chain(agents).map(account).collect()
}

/// Generates accounts: writes a file of them for `load --people`, and prints the shell commands that add them to a
/// server.
#[derive(Args, Debug)]
pub struct GenerateAccounts {
    /// The file to write.
    file: PathBuf,
    /// Number of users.
    #[arg(long, default_value_t = 1_000)]
    count: usize,
    /// Number of additional agents, who answer in the concierge's sessions.
    #[arg(long, default_value_t = 20)]
    agents: usize,
    /// The program that adds the accounts.
    #[arg(long, default_value = "dragoman")]
    program: String,
}

impl GenerateAccounts {
    /// Writes the file, and returns the shell commands.
    pub fn generate(&self) -> Result<String> {
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
