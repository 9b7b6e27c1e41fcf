//! Command line: parses arguments and settings, runs one command, and sets the exit code.

use std::{
    io::{BufRead, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand};
use storage::{Role, Storage};
use tokio::net::TcpListener;

use crate::{
    admin::{self, NewAccount, UserEdit},
    auth,
    backup::{self, BackupSource, EmptyStore},
    characters::escaped,
    config::{Config, Flags, Store},
    error::chain,
    lifecycle,
    metrics::Metrics,
    relocation,
    server::{self, Purpose},
    telemetry,
};

/// A chat server that speaks the dialects which chat clients already speak.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// A TOML file with settings; `dragoman.toml` in the working directory if there is one.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// Directory of the store and its files, for a storage that names none
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<String>,
    /// `sqlite:<file>`, `postgres://user:password@host/database`, or `memory:`, which loses everything at the end
    #[arg(long, global = true)]
    storage: Option<String>,
    /// `file:<directory>` or `s3://<bucket>/<prefix>`: the files of the store
    #[arg(long, global = true)]
    files: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the server.
    Serve(Serve),
    /// Brings the database schema up to date.
    Migrate,
    /// Moves everything to another store, with all files, while no server runs on either.
    Move(Move),
    /// Saves the store and its files in a new archive, also while servers run.
    Backup {
        /// A tar file that is not there yet
        file: PathBuf,
    },
    /// Restores a backup into an empty store.
    Restore {
        /// A file that `backup` has made
        file: PathBuf,
    },
    /// Administers users.
    #[command(subcommand)]
    User(UserCommand),
    /// Administers groups.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Issues access tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Prints the OpenAPI document.
    Openapi,
    /// Prints the AsyncAPI document of a dialect's sockets.
    Asyncapi {
        /// `room`, `conversations` or `concierge`; without it, all of them in one object, by name.
        dialect: Option<String>,
    },
}

#[derive(Args)]
struct Serve {
    /// Address and port to serve on; port 0 takes a free one.
    #[arg(long)]
    listen: Option<String>,
    /// The name of the workspace, which Odoo clients call database.
    #[arg(long)]
    database: Option<String>,
    /// Loads the demo data into an empty store.
    #[arg(long)]
    demo: bool,
    /// Does not migrate the database schema.
    #[arg(long)]
    no_migrate: bool,
    /// Serves a store that was moved to another one, and removes its mark
    #[arg(long)]
    after_all: bool,
    /// Starts although all files are missing that the store names
    #[arg(long)]
    files_are_gone: bool,
    /// `text` or `json`
    #[arg(long)]
    log_format: Option<String>,
}

#[derive(Args)]
struct Move {
    /// The store to move: `sqlite:<file>` or `postgres://user:password@host/database`
    #[arg(long, value_name = "STORAGE")]
    from: String,
    /// A new store: `sqlite:<file>` or the URL of an empty database
    #[arg(long, value_name = "STORAGE")]
    to: String,
    /// Where the files are; the setting `files`, or else where a server on the store looks for them
    #[arg(long, value_name = "FILES")]
    from_files: Option<String>,
    /// Where the files go; the setting `files`, or else where a server on the store looks for them
    #[arg(long, value_name = "FILES")]
    to_files: Option<String>,
}

/// Passwords are read from standard input, so that no list of processes shows them. They have 8 characters or more.
#[derive(Subcommand)]
enum UserCommand {
    /// Adds a user; the password is the first line of standard input.
    Add {
        login: String,
        #[arg(long)]
        name: String,
        #[arg(long)]
        email: Option<String>,
        /// `user`, `agent` or `admin`
        #[arg(long, default_value = "user", value_parser = role)]
        role: Role,
    },
    /// Lists all users.
    List,
    /// Changes a user. Its sockets and waiting polls end once; its sessions and tokens stay valid, except with
    /// `--no-external-id`.
    #[command(group(ArgGroup::new("what").required(true).multiple(true)))]
    Edit {
        login: String,
        /// Permission to edit and delete messages of others, which every admin has
        #[arg(long, group = "what", action = ArgAction::Set)]
        moderator: Option<bool>,
        /// The user's id in the application that issues its tokens; only for a user without one
        #[arg(long, group = "what", value_name = "ID", allow_hyphen_values = true)]
        external_id: Option<String>,
        /// Removes the external id and revokes the user's sessions and tokens
        #[arg(long, group = "what", conflicts_with = "external_id")]
        no_external_id: bool,
    },
    /// Sets a password, the first line of standard input, and revokes the user's sessions and tokens.
    Passwd { login: String },
    /// Deactivates a user: ends its sessions, tokens and sockets on all nodes.
    Deactivate { login: String },
    /// Reactivates a user, who can then log in again.
    Activate { login: String },
    /// Sets the picture of a user, which clients of im_chat show.
    Picture {
        login: String,
        /// A PNG file
        file: PathBuf,
    },
}

/// Groups are lists of users, each of which can have a conversation.
#[derive(Subcommand)]
enum GroupCommand {
    /// Adds a group without members.
    Add { name: String },
    /// Lists all groups.
    List,
    /// Changes and lists the members of a group.
    Members {
        name: String,
        /// Logins to add
        #[arg(long, num_args = 1.., value_name = "LOGIN")]
        add: Vec<String>,
        /// Logins to remove
        #[arg(long, num_args = 1.., value_name = "LOGIN")]
        remove: Vec<String>,
    },
}

/// Tokens are signed with `tokens.secret`, which all servers share.
#[derive(Subcommand)]
enum TokenCommand {
    /// Prints an access token.
    Issue {
        /// A login
        #[arg(long)]
        user: String,
    },
}

impl UserCommand {
    fn purpose(&self) -> Purpose {
        if matches!(self, Self::List) { Purpose::Read } else { Purpose::Write }
    }
}

impl GroupCommand {
    fn purpose(&self) -> Purpose {
        if matches!(self, Self::List) { Purpose::Read } else { Purpose::Write }
    }
}

fn role(word: &str) -> Result<Role, String> {
    Role::parse(word).ok_or_else(|| "must be user, agent or admin".into())
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    // First of all: until then, SIGHUP ends the process.
    runtime.block_on(async { lifecycle::survive_hangup() });
    let cli = Cli::parse();
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, whatever the error.
            print_error(&chain(error.as_ref()).to_string());
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), server::StartError> {
    let mut flags = Flags { data: cli.data, storage: cli.storage, files: cli.files, ..Flags::default() };
    if let Command::Serve(serve) = &cli.command {
        flags.listen.clone_from(&serve.listen);
        flags.database.clone_from(&serve.database);
        flags.demo = serve.demo;
        flags.log_format.clone_from(&serve.log_format);
    }
    if matches!(cli.command, Command::Openapi) {
        return print(&server::openapi().await?);
    }
    if let Command::Asyncapi { dialect } = &cli.command {
        return print(&server::asyncapi(dialect.as_deref())?);
    }
    let config = Config::load(cli.config.as_deref(), &flags)?;
    match cli.command {
        Command::Serve(Serve { no_migrate, after_all, files_are_gone, .. }) => {
            serve(config, Purpose::Serve { migrate: !no_migrate, after_all }, files_are_gone).await
        }
        Command::Backup { file } => backup(&config, &file).await,
        Command::Restore { file } => restore(&config, &file).await,
        Command::Move(ends) => move_store(&config, &ends).await,
        Command::Migrate => migrate(&config).await,
        Command::User(command) => user(database(&config, command.purpose()).await?.as_ref(), command).await,
        Command::Group(command) => group(database(&config, command.purpose()).await?.as_ref(), command).await,
        Command::Token(TokenCommand::Issue { user }) => token(&config, &user).await,
        Command::Openapi | Command::Asyncapi { .. } => unreachable!("handled above"),
    }
}

async fn serve(config: Config, purpose: Purpose, files_are_gone: bool) -> Result<(), server::StartError> {
    telemetry::start(&config.log);
    let metrics = Metrics::default();
    let storage = server::open_storage(&config, purpose, &metrics).await?;
    if !files_are_gone {
        server::require_files(&config, storage.as_ref()).await?;
    }
    let listener = TcpListener::bind(&config.listen).await.map_err(|error| format!("listen: {}: {error}", config.listen))?;
    server::prepare_demo(&config, storage.as_ref()).await?;
    server::hint_first_user(&config, storage.as_ref()).await?;
    let stop = lifecycle::stop_signal();
    // Printed last: a script that reads this may send requests, read the store, or stop the server.
    print(&format!("Dragoman listens on http://{}", listener.local_addr()?))?;
    server::run(config, storage, metrics, listener, stop).await
}

async fn move_store(config: &Config, ends: &Move) -> Result<(), server::StartError> {
    let services = lifecycle::Lifecycle::default();
    let from = move_end("--from", &ends.from, ends.from_files.as_deref(), config).await?;
    let to = move_end("--to", &ends.to, ends.to_files.as_deref(), config).await?;
    let moved = relocation::run(&from, &to, &services).await?;
    print(&format!("{:<24}{:>12}  sha256 of both", "table", "rows"))?;
    for table in &moved.tables {
        print(&format!("{:<24}{:>12}  {}", table.table, table.source.rows, hex::encode(&table.source.sha256[..8])))?;
    }
    let Some(files) = moved.files else { return print(&format!("moved to {}; the files stay in {}", to.address, to.files)) };
    print(&format!(
        "moved to {}; files in {}: {} copied ({} bytes), {} there before",
        to.address, to.files, files.copied, files.copied_bytes, files.present
    ))?;
    match files.missing {
        0 => Ok(()),
        missing => Err(format!("move: all is moved but {missing} files, which are not in {}", from.files).into()),
    }
}

/// Opens one end of a move.
async fn move_end(
    option: &str,
    address: &str,
    files: Option<&str>,
    config: &Config,
) -> Result<relocation::MoveEnd, server::StartError> {
    let store = Store::at(address);
    store.check().map_err(|must| format!("{option} {must}"))?;
    let default = || if config.files.is_empty() { store.default_files() } else { Some(config.files.clone()) };
    let files = files.map(str::to_owned).or_else(default).unwrap_or_default();
    let opened = server::open_copyable(store, option == "--to", config).await;
    let store_opened = opened.map_err(|error| format!("{option}: {}", chain(error.as_ref())))?;
    Ok(relocation::MoveEnd { store: store_opened, address: store.public_address(), files })
}

async fn backup(config: &Config, file: &Path) -> Result<(), server::StartError> {
    let storage = server::open_for_backup(config).await?;
    let (files, address) = server::open_files(config)?;
    let source = BackupSource { storage, kind: config.store().kind(), files, address };
    let saved = backup::save(&source, file).await?;
    print(&format!("saved {} in {}", contents(&saved), file.display()))?;
    if saved.missing.count > 0 {
        let (missing, named) = (saved.missing.count, saved.missing.names.join(", "));
        return Err(format!("backup: all is saved but {missing} files, which are not in {}: {named}", source.address).into());
    }
    Ok(())
}

async fn restore(config: &Config, file: &Path) -> Result<(), server::StartError> {
    let restoration = server::begin_restoration(config).await?;
    let (files, address) = server::open_files(config)?;
    let (kind, target) = (config.store().kind(), config.store().public_address());
    let saved = backup::restore(EmptyStore { restoration, kind, files, address: address.clone() }, file).await?;
    print(&format!("restored {} into {target} and {address}", contents(&saved)))
}

fn contents(saved: &backup::Saved) -> String {
    let storage::RowCounts { users, conversations, messages } = saved.rows;
    let (files, bytes) = (saved.files, saved.bytes);
    format!("{users} users, {conversations} conversations, {messages} messages and {files} files ({bytes} bytes)")
}

/// Migrates the schema, and completes data that earlier versions have left incomplete.
async fn migrate(config: &Config) -> Result<(), server::StartError> {
    /// Batch size.
    const STEP: usize = 1_000;

    let storage = database(config, Purpose::Migrate).await?;
    while storage.fold_people(STEP).await? == STEP as u64 {}
    Ok(())
}

/// Opens a database; fails for the store in memory, which ends with its server.
async fn database(config: &Config, purpose: Purpose) -> Result<Arc<dyn Storage>, server::StartError> {
    if config.store() == Store::Memory {
        return Err("storage: memory: ends with the server; name a database".into());
    }
    server::open_storage(config, purpose, &Metrics::default()).await
}

async fn user(storage: &dyn Storage, command: UserCommand) -> Result<(), server::StartError> {
    match command {
        UserCommand::Add { login, name, email, role } => {
            let user = admin::add_user(storage, NewAccount { login, name, email, role, password: password()? }).await?;
            print(&format!("{} (uid {}, partner {})", escaped(user.login_text()), user.id, user.partner.id))?;
            for twin in admin::lookalike_logins(storage, &user).await? {
                print_error(&format!("warning: {twin} is another user: logins are case-sensitive"));
            }
            Ok(())
        }
        UserCommand::List => admin::all_users(storage).await?.iter().try_for_each(print_user),
        UserCommand::Edit { login, moderator, external_id, no_external_id } => {
            let external_id = if no_external_id { Some(None) } else { external_id.map(Some) };
            admin::edit(storage, &login, UserEdit { moderator, external_id }).await.map_err(Into::into)
        }
        UserCommand::Passwd { login } => {
            if !admin::set_password(storage, &login, &password()?).await?.active {
                print_error(&format!("warning: {login} is deactivated and cannot log in until `dragoman user activate`"));
            }
            Ok(())
        }
        UserCommand::Deactivate { login } => admin::deactivate(storage, &login).await.map_err(Into::into),
        UserCommand::Activate { login } => {
            if !admin::activate(storage, &login).await? {
                print_error(&format!("{login} is active already"));
            }
            Ok(())
        }
        UserCommand::Picture { login, file } => {
            let mut png = Vec::new();
            // One byte over the limit suffices to detect a file that is too large.
            let most = u64::try_from(admin::PICTURE_BYTES + 1).expect("a picture is small");
            let opened = std::fs::File::open(&file).and_then(|opened| opened.take(most).read_to_end(&mut png));
            opened.map_err(|error| format!("{}: {error}", file.display()))?;
            admin::set_picture(storage, &login, &png).await.map_err(Into::into)
        }
    }
}

async fn token(config: &Config, login: &str) -> Result<(), server::StartError> {
    let tokens = auth::Tokens::open(config.tokens.rules(config.limits.user.token_families), &lifecycle::Lifecycle::default())?;
    let token = admin::issue_token(database(config, Purpose::Write).await?.as_ref(), &tokens, login).await?;
    print(token.expose())
}

async fn group(storage: &dyn Storage, command: GroupCommand) -> Result<(), server::StartError> {
    match command {
        GroupCommand::Add { name } => {
            let group = admin::add_group(storage, &name).await?;
            print(&format!("{} (group {})", escaped(&group.name), group.id))
        }
        GroupCommand::List => {
            let groups = storage.groups().await?;
            groups.iter().try_for_each(|group| print(&format!("{}\t{}", group.id, escaped(&group.name))))
        }
        GroupCommand::Members { name, add, remove } => {
            admin::change_members(storage, &name, &add, &remove).await?.iter().try_for_each(print_user)
        }
    }
}

/// Prints a user in one line, escaped: earlier versions accepted any text.
fn print_user(user: &storage::User) -> Result<(), server::StartError> {
    let moderator = if user.can_moderate { "\tmoderator" } else { "" };
    let active = if user.active { "" } else { "\tdeactivated" };
    let (login, name) = (escaped(user.login_text()), escaped(&user.partner.name));
    print(&format!("{}\t{login}\t{}\t{name}{moderator}{active}", user.id, user.role.as_str()))
}

/// Reads the first line of standard input, without the byte order mark and the carriage return of Windows.
fn password() -> Result<String, server::StartError> {
    /// Size limit of the line.
    const LONGEST_BYTES: u64 = 4096;

    let mut line = Vec::new();
    std::io::stdin().lock().take(LONGEST_BYTES + 1).read_until(b'\n', &mut line)?;
    if line.len() as u64 > LONGEST_BYTES {
        return Err(format!("the password must not be longer than {LONGEST_BYTES} bytes").into());
    }
    let line = String::from_utf8(line).map_err(|_| "the password must be UTF-8 text")?;
    let password = line.strip_prefix('\u{feff}').unwrap_or(&line).trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err("the password, the first line of standard input, must not be empty".into());
    }
    Ok(password.to_owned())
}

/// Writes a line to standard error, escaped.
fn print_error(line: &str) {
    // An error means that standard error is closed.
    let _ = writeln!(std::io::stderr(), "dragoman: {}", escaped(line));
}

fn print(line: &str) -> Result<(), server::StartError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
