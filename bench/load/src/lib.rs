//! A load generator: virtual users of all dialects against any server.
//!
//! Its model is open. The send times of each virtual user are scheduled beforehand, and all latencies count from them:
//! a server that stalls makes all messages due meanwhile late, and the lateness is measured (no coordinated omission).
//! `schedule` has the send times, `virtual_user` the virtual user, `group` the groups and their conversations, `recorder` the
//! counters and latencies, `client` the interface of a dialect's client, and there is a file for each dialect.

mod accounts;
mod client;
mod concierge;
mod conversations;
mod dialect;
mod group;
mod im_chat;
mod messaging;
mod mix;
mod recorder;
mod report;
mod room;
mod schedule;
mod socket;
mod target;
mod virtual_user;

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use hdrhistogram::Histogram;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use url::Url;
use uuid::Uuid;

use accounts::Account;
pub use accounts::GenerateAccounts;
use dialect::Dialect;
use group::{Group, RunContext};
use mix::Mix;
use recorder::{Recorder, Window, elapsed_micros};
use report::RunOutcome;
pub use report::{Latency, Report};
use target::Target;

pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Upper bound of the final wait for outstanding answers after an interruption.
const INTERRUPTED_WAIT: Duration = Duration::from_secs(2);

/// Sends virtual users to a server, and reports latencies and losses.
#[derive(Args, Clone, Debug)]
pub struct Load {
    /// URL of the server, for example `https://chat.example.com`
    #[arg(long)]
    url: Url,
    /// Confirms that the server is yours. Needed for every server that is not on this machine.
    #[arg(long)]
    yes_this_server_is_mine: bool,
    /// A file of accounts: login, tab, password, and optionally a tab and `agent`, one account a line. `people` makes
    /// one.
    #[arg(long, required_unless_present = "demo", conflicts_with = "demo")]
    people: Option<PathBuf>,
    /// Use the accounts of `dragoman serve --demo`, each with many devices.
    #[arg(long)]
    demo: bool,
    /// Additional trusted certificates: a PEM file.
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// The workspace, for the dialects that name it at login.
    #[arg(long, default_value = "odoo2")]
    database: String,
    /// Number of virtual users. Accounts are used more than once if there are fewer of them.
    #[arg(long, default_value_t = 100)]
    visitors: usize,
    /// The shares of the dialects.
    #[arg(long, default_value = "messaging=3,im_chat=1,room=2,conversations=3,concierge=1")]
    mix: Mix,
    /// Messages that each virtual user sends per minute.
    #[arg(long, default_value_t = 2.0)]
    messages_per_minute: f64,
    /// Members of a conversation in the dialects messaging and conversations. In the other dialects there are two.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..))]
    conversation_size: u16,
    /// Number of sessions in which each agent of the concierge answers.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=30))]
    tenants_per_agent: u16,
    /// Length of a message, in bytes.
    #[arg(long, default_value_t = 60)]
    text_bytes: usize,
    /// Seconds within which all virtual users connect. Messages before the last one is connected are not measured.
    #[arg(long, default_value = "10", value_parser = seconds)]
    ramp: Duration,
    /// Seconds of the measurement.
    #[arg(long, default_value = "60", value_parser = seconds)]
    duration: Duration,
    /// Average think time: seconds until a virtual user marks a received message as read.
    #[arg(long, default_value = "3", value_parser = seconds)]
    think: Duration,
    /// Share of the messages that are preceded by a typing indicator.
    #[arg(long, default_value_t = 0.3, value_parser = share)]
    typing: f64,
    /// Planned disconnects of each virtual user per hour. It reconnects after some seconds, over new connections.
    #[arg(long, default_value_t = 2.0)]
    reconnects_per_hour: f64,
    /// Time-out of an answer, in seconds, and the longest wait for outstanding messages at the end.
    #[arg(long, default_value = "30", value_parser = seconds)]
    patience: Duration,
    /// Seed of the random schedules. The same seed means the same schedules.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the report as JSON to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write all histograms, in microseconds, to this file in HdrHistogram's log format. Those of several runs can be
    /// added up.
    #[arg(long)]
    pub hdr_log: Option<PathBuf>,
}

/// Limit of open files of this process.
pub fn open_files_limit() -> Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).ok_or("no limit of open files")?;
    Ok(line.split_whitespace().next().and_then(|files| files.parse().ok()).unwrap_or(usize::MAX))
}

/// Behaviour common to all virtual users.
pub(crate) struct LoadProfile {
    seed: u64,
    messages_per_second: f64,
    departures_per_second: f64,
    text_bytes: usize,
    think: Duration,
    typing: f64,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "it is a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().map_err(|_| "it is a number")?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("it is between 0 and 1".into()) }
}

impl Load {
    /// Connects all virtual users, measures and disconnects. Reports the partial results if `interrupted` completes
    /// first.
    pub async fn run(&self, interrupted: impl Future<Output = ()>) -> Result<Report> {
        if !(self.messages_per_minute > 0.0 && self.reconnects_per_hour >= 0.0) {
            return Err("somebody must say something".into());
        }
        let target = Arc::new(Target::new(self.url.clone(), &self.database, self.patience, self.ca_file.as_deref())?);
        if !self.yes_this_server_is_mine && !target.is_loopback().await? {
            let host = &target.host;
            return Err(format!(
                "{host} is not this machine. A load test of somebody else's server is an attack: say \
                 --yes-this-server-is-mine if it is not"
            )
            .into());
        }
        let groups = self.groups(&self.accounts()?)?;
        let files = groups.iter().map(Group::open_files).sum::<usize>() + 100;
        if files > open_files_limit()? {
            return Err(format!("so many visitors take {files} open files: allow them with `ulimit -n`").into());
        }

        let (start, count) = (Instant::now(), u32::try_from(groups.len())?);
        let expected = groups.iter().map(|group| group.members.len()).sum();
        let recorder = Arc::new(Recorder::new(Uuid::new_v4().as_fields().0));
        let (arrived, profile) = (Arc::new(Semaphore::new(0)), Arc::new(self.profile()));
        let stage = RunContext { target, recorder: Arc::clone(&recorder), profile, connected: Arc::clone(&arrived) };
        let (over, is_over) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for (number, group) in (0..).zip(groups) {
            tasks.spawn(group.run(start + self.ramp * number / count, stage.clone(), is_over.clone()));
        }
        let lateness = JoinSet::from_iter([own_lateness(is_over)]);

        let run = self.run_window(&recorder, &arrived, expected, interrupted).await?;
        over.send_replace(true);
        tasks.join_all().await;
        recorder.close();
        let lateness = lateness.join_all().await.pop().ok_or("its own lateness was measured")?;
        Ok(Report::new(self, expected, run, &recorder, lateness))
    }

    /// Waits until all virtual users are connected, then for the measurement, then for outstanding acknowledgements and
    /// deliveries.
    async fn run_window(
        &self,
        recorder: &Recorder,
        arrived: &Semaphore,
        expected: usize,
        interrupted: impl Future<Output = ()>,
    ) -> Result<RunOutcome> {
        let mut interrupted = std::pin::pin!(interrupted);
        let all = u32::try_from(expected)?;
        let is_early = tokio::select! {
            all = arrived.acquire_many(all) => { drop(all); false }
            // The measurement begins with those that have connected.
            () = sleep(self.ramp + self.patience) => false,
            () = &mut interrupted => true,
        };
        let begin = Instant::now();
        let end = if is_early { begin } else { begin + self.duration };
        recorder.set_window(Window { begin, end });
        let is_interrupted = is_early
            || tokio::select! {
                () = sleep_until(end) => false,
                () = &mut interrupted => true,
            };
        let measured = begin.elapsed();
        let patience = if is_interrupted {
            recorder.set_window(Window { begin, end: Instant::now() });
            INTERRUPTED_WAIT.min(self.patience)
        } else {
            self.patience
        };
        let complete = async {
            while !recorder.is_complete() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = complete => {}
            () = sleep(patience) => {}
            () = &mut interrupted, if !is_interrupted => {}
        }
        Ok(RunOutcome { measured, is_interrupted })
    }

    fn profile(&self) -> LoadProfile {
        LoadProfile {
            seed: self.seed,
            messages_per_second: self.messages_per_minute / 60.0,
            departures_per_second: self.reconnects_per_hour / 3_600.0,
            text_bytes: self.text_bytes,
            think: self.think,
            typing: self.typing,
        }
    }

    fn accounts(&self) -> Result<Vec<Account>> {
        match &self.people {
            Some(file) => accounts::read_accounts(file),
            None => Ok(accounts::demo_accounts()),
        }
    }

    /// Divides the virtual users into groups.
    fn groups(&self, accounts: &[Account]) -> Result<Vec<Group>> {
        let (agents, people): (Vec<_>, Vec<_>) = accounts.iter().cloned().partition(|account| account.is_agent);
        let (mut agents, mut people) = (agents.into_iter().cycle(), people.into_iter().cycle());
        let (mut groups, mut name) = (Vec::new(), 0..);
        for (dialect, mut visitors) in Dialect::ALL.into_iter().zip(self.mix.divide(self.visitors)) {
            let size = match dialect {
                Dialect::Messaging | Dialect::Conversations => usize::from(self.conversation_size),
                Dialect::ImChat | Dialect::Room => 2,
                Dialect::Concierge => 1 + usize::from(self.tenants_per_agent),
            };
            while visitors > 0 {
                // A group has at least two members, so the total may exceed the number asked for.
                let members = size.min(visitors).max(2);
                visitors = visitors.saturating_sub(members);
                let mut group = Group { dialect, members: Vec::new() };
                for place in 0..members {
                    let is_agent = dialect == Dialect::Concierge && place == 0;
                    let account = if is_agent { agents.next() } else { people.next() };
                    let kind = if is_agent { "agents" } else { "people who are no agents" };
                    let account = account.ok_or_else(|| format!("{dialect} takes {kind}, and there are none"))?;
                    group.members.extend(name.next().map(|name| (name, account)));
                }
                let one = &group.members[0].1.login;
                if group.members.iter().all(|(_, other)| other.login == *one) {
                    return Err("there are too few people for a conversation".into());
                }
                groups.push(group);
            }
        }
        // Shuffles the groups, so that the dialects connect interleaved.
        let mut rng = StdRng::seed_from_u64(self.seed);
        for last in (1..groups.len()).rev() {
            groups.swap(last, rng.random_range(0..=last));
        }
        if groups.is_empty() { Err("nobody comes".into()) } else { Ok(groups) }
    }
}

/// Scheduling lateness of this program itself: the bound of its precision.
async fn own_lateness(mut over: watch::Receiver<bool>) -> Histogram<u64> {
    let mut lateness = Histogram::new(3).expect("these are bounds that a histogram can have");
    let mut next = Instant::now();
    loop {
        next += Duration::from_millis(10);
        tokio::select! {
            () = sleep_until(next) => {}
            _ = over.wait_for(|over| *over) => return lateness,
        }
        lateness.saturating_record(elapsed_micros(next));
        next = next.max(Instant::now() - Duration::from_millis(10));
    }
}
