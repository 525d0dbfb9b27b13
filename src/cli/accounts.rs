//! `trainyard user` and `trainyard token`: who may use the server.

use super::Outcome;
use super::office::{AccountLine, Folder, Office, TokenLine};
use crate::domain::account::Role;
use clap::{Args, Subcommand};
use std::io::{IsTerminal, Write};

/// `trainyard user`
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make an account; the first one has to be an admin's
    Add(AddArgs),
    /// List the accounts
    List(ListArgs),
    /// Give an account another role or password
    Change(ChangeArgs),
    /// Remove an account and its tokens; what it made stays
    Remove(RemoveArgs),
}

/// `trainyard token`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token; it is printed once
    Create(CreateTokenArgs),
    /// List the tokens of an account
    List(ListTokensArgs),
    /// End a token
    Revoke(RevokeArgs),
}

/// The roles, for the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum RoleArg {
    /// Looks at what is shared, asks for predictions
    Viewer,
    /// Makes things, and changes its own
    Member,
    /// Everything
    Admin,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Viewer => Self::Viewer,
            RoleArg::Member => Self::Member,
            RoleArg::Admin => Self::Admin,
        }
    }
}

/// Where a password comes from.
#[derive(Debug, Args)]
struct PasswordArgs {
    /// Read the password from the first line of standard input
    #[arg(long)]
    password_stdin: bool,
}

/// `trainyard user add`
#[derive(Debug, Args)]
pub struct AddArgs {
    /// What the account signs in with
    name: String,
    /// What it may do
    #[arg(long, value_enum, default_value = "member")]
    role: RoleArg,
    #[command(flatten)]
    password: PasswordArgs,
    /// For programs: tokens only
    #[arg(long, conflicts_with = "password_stdin")]
    no_password: bool,
    #[command(flatten)]
    folder: Folder,
}

/// `trainyard user list`
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    folder: Folder,
}

/// `trainyard user change`
#[derive(Debug, Args)]
pub struct ChangeArgs {
    /// The account
    name: String,
    /// What it may do from now on
    #[arg(long, value_enum)]
    role: Option<RoleArg>,
    /// Ask for a new password
    #[arg(long)]
    password: bool,
    #[command(flatten)]
    source: PasswordArgs,
    #[command(flatten)]
    folder: Folder,
}

/// `trainyard user remove`
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// The account
    name: String,
    #[command(flatten)]
    folder: Folder,
}

/// `trainyard token create`
#[derive(Debug, Args)]
pub struct CreateTokenArgs {
    /// Whose it is to be
    #[arg(long, value_name = "NAME")]
    user: String,
    /// What it is for
    #[arg(long, default_value = "")]
    label: String,
    /// In how many days it ends [default: never]
    #[arg(long, value_name = "DAYS")]
    expires: Option<u64>,
    #[command(flatten)]
    folder: Folder,
}

/// `trainyard token list`
#[derive(Debug, Args)]
pub struct ListTokensArgs {
    /// Whose
    #[arg(long, value_name = "NAME")]
    user: String,
    #[command(flatten)]
    folder: Folder,
}

/// `trainyard token revoke`
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// Its id, from `trainyard token list`
    id: String,
    #[command(flatten)]
    folder: Folder,
}

/// Runs `trainyard user`.
pub fn user(command: UserCommand) -> Outcome {
    match command {
        UserCommand::Add(args) => {
            let password = if args.no_password { None } else { Some(password(&args.password)?) };
            let made = with(&args.folder, async |office| office.add(&args.name, args.role.into(), password).await)?;
            say(&args.folder, &made, |out| writeln!(out, "made the account {}, {}", made.name, made.role))
        }
        UserCommand::List(args) => {
            let found = with(&args.folder, async |office| office.accounts().await)?;
            say(&args.folder, &found, |out| table(out, ["NAME", "ROLE", "PASSWORD", "MADE"], found.iter().map(account)))
        }
        UserCommand::Change(args) => {
            if args.role.is_none() && !args.password && !args.source.password_stdin {
                return Err("nothing to change: give --role, --password or --password-stdin".into());
            }
            let wants = args.password || args.source.password_stdin;
            let password = if wants { Some(password(&args.source)?) } else { None };
            let role = args.role.map(Role::from);
            let changed = with(&args.folder, async |office| office.change(&args.name, role, password).await)?;
            say(&args.folder, &changed, |out| writeln!(out, "changed the account {}, {}", changed.name, changed.role))
        }
        UserCommand::Remove(args) => {
            with(&args.folder, async |office| office.remove(&args.name).await)?;
            say(&args.folder, &serde_json::json!({ "removed": args.name }), |out| {
                writeln!(out, "removed the account {} and its tokens", args.name)
            })
        }
    }
}

/// Runs `trainyard token`.
pub fn token(command: TokenCommand) -> Outcome {
    match command {
        TokenCommand::Create(args) => {
            let (user, label) = (args.user, args.label);
            let made = with(&args.folder, async |office| office.create_token(user, label, args.expires).await)?;
            if std::io::stdout().is_terminal() {
                eprintln!("{} of {}; it is shown this once, keep it now:", made.id, made.account);
            }
            say(&args.folder, &made, |out| writeln!(out, "{}", made.token.as_deref().unwrap_or_default()))
        }
        TokenCommand::List(args) => {
            let found = with(&args.folder, async |office| office.tokens(&args.user).await)?;
            let head = ["ID", "KIND", "LABEL", "MADE", "ENDS", "LAST USED"];
            say(&args.folder, &found, |out| table(out, head, found.iter().map(token_row)))
        }
        TokenCommand::Revoke(args) => {
            with(&args.folder, async |office| office.revoke(&args.id).await)?;
            say(&args.folder, &serde_json::json!({ "revoked": args.id }), |out| writeln!(out, "ended {}", args.id))
        }
    }
}

/// Does something where it is done.
fn with<T>(
    folder: &Folder,
    work: impl AsyncFnOnce(&Office) -> Result<T, Box<dyn std::error::Error>>,
) -> Result<T, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let office = Office::find(folder)?;
    let done = runtime.block_on(work(&office));
    drop(runtime);
    office.close();
    done
}

fn password(from: &PasswordArgs) -> Result<String, Box<dyn std::error::Error>> {
    if from.password_stdin {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    if !std::io::stdin().is_terminal() {
        return Err("there is no terminal to ask for the password; give it with --password-stdin".into());
    }
    let first = rpassword::prompt_password("password: ")?;
    if rpassword::prompt_password("once more: ")? != first {
        return Err("the two passwords differ; nothing was done".into());
    }
    Ok(first)
}

fn say(
    folder: &Folder,
    value: &impl serde::Serialize,
    text: impl FnOnce(&mut std::io::StdoutLock<'_>) -> std::io::Result<()>,
) -> Outcome {
    let mut out = std::io::stdout().lock();
    if folder.json {
        writeln!(out, "{}", serde_json::to_string(value)?)?;
    } else {
        text(&mut out)?;
    }
    Ok(out.flush()?)
}

fn account(line: &AccountLine) -> [String; 4] {
    let password = if line.has_password { "yes" } else { "no" };
    [line.name.clone(), line.role.clone(), password.to_owned(), line.created_at.clone()]
}

fn token_row(line: &TokenLine) -> [String; 6] {
    let or = |time: &Option<String>, none: &str| time.clone().unwrap_or_else(|| none.to_owned());
    let (ends, used) = (or(&line.expires_at, "never"), or(&line.last_used_at, "never"));
    [line.id.clone(), line.kind.clone(), line.label.clone(), line.created_at.clone(), ends, used]
}

/// Columns as wide as what stands in them.
fn table<const N: usize>(
    out: &mut impl Write,
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> std::io::Result<()> {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let wide: Vec<usize> = (0..N).map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
    for row in &rows {
        let line: Vec<String> = row.iter().zip(&wide).map(|(cell, wide)| format!("{cell:<wide$}")).collect();
        writeln!(out, "{}", line.join("  ").trim_end())?;
    }
    Ok(())
}
