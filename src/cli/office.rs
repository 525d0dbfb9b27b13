//! Where commands about accounts are carried out: by the running server of a data folder, else in the folder itself.

use super::Outcome;
use crate::app::SystemClock;
use crate::config::{Flags, RawConfig};
use crate::control;
use crate::domain::account::{Account, Actor, Role, TokenKind};
use crate::domain::ids::TokenId;
use crate::domain::name::Name;
use crate::domain::stamp::{Seen, Timestamp};
use crate::ingest::fetch;
use crate::service::accounts::{Accounts, NewAccount, NewToken, Owned};
use crate::store::{Options, Store};
use clap::Args;
use reqwest::{Client, Method, RequestBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Which data folder.
#[derive(Debug, Args)]
pub struct Folder {
    /// The settings file, where it names the data folder
    #[arg(long, env = "TRAINYARD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder [default: data]
    #[arg(long, env = "TRAINYARD_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// An account, as `/api/v1` shows it.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccountLine {
    /// Its id.
    pub id: String,
    /// What it signs in with.
    pub name: String,
    /// admin, member or viewer.
    pub role: String,
    /// False where it has tokens only.
    pub has_password: bool,
    /// RFC 3339.
    pub created_at: String,
}

/// A token, as `/api/v1` shows it.
#[derive(Debug, Serialize, Deserialize)]
pub struct TokenLine {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub account: String,
    /// token or session.
    pub kind: String,
    /// What its owner calls it.
    pub label: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub expires_at: Option<String>,
    /// RFC 3339.
    pub last_used_at: Option<String>,
    /// The secret, once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub token: Option<String>,
}

#[derive(Deserialize)]
struct Page<T> {
    data: Vec<T>,
    #[serde(default)]
    next_cursor: Option<String>,
}

type Answer<T> = Result<T, Box<dyn Error>>;

/// The one who carries it out.
pub enum Office {
    /// The running server, over its control socket, which is held for as long as this lives.
    Running {
        /// Talks over the socket.
        client: Client,
        /// Held, since its path may lead through it.
        _socket: control::Short,
    },
    /// Nobody has the folder open.
    Stopped(Box<(Store, Accounts)>),
}

impl Office {
    /// Finds it.
    ///
    /// # Errors
    /// Where the folder cannot be used.
    pub fn find(folder: &Folder) -> Answer<Self> {
        let flags = Flags { config: folder.config.clone(), data_dir: folder.data_dir.clone(), ..Flags::default() };
        let config = RawConfig::load(&flags, |name| std::env::var(name).ok())?;
        let data = std::path::absolute(&config.server.data_dir)?;
        let found = control::find(&data).map_err(|error| {
            format!(
                "the server of {} cannot be asked: {error}; run this as the user that the server runs as",
                data.display()
            )
        })?;
        if let Some(socket) = found {
            let tls = fetch::tls()?;
            let client = Client::builder()
                .tls_backend_preconfigured(tls)
                .no_proxy()
                .unix_socket(socket.path())
                .timeout(Duration::from_secs(60))
                .build()?;
            return Ok(Self::Running { client, _socket: socket });
        }
        control::make_private(&data)?;
        let options = Options {
            cache_bytes: config.server.cache_bytes,
            min_free_bytes: config.server.min_free_bytes,
            ..Options::default()
        };
        let store = Store::open(&data, options)?;
        let accounts = Accounts::new(store.clone(), Arc::new(SystemClock))?;
        Ok(Self::Stopped(Box::new((store, accounts))))
    }

    /// Closes the folder.
    pub fn close(self) {
        if let Self::Stopped(folder) = self {
            let (store, accounts) = *folder;
            drop(accounts);
            store.close();
        }
    }

    /// Makes an account.
    ///
    /// # Errors
    /// What the services say, here and below.
    pub async fn add(&self, name: &str, role: Role, password: Option<String>) -> Answer<AccountLine> {
        match self {
            Self::Running { client, .. } => {
                let body = json!({ "name": name, "role": role.as_str(), "password": password });
                Ok(serde_json::from_value(ask(client, Method::POST, "accounts", Some(body)).await?)?)
            }
            Self::Stopped(folder) => {
                let accounts = &folder.1;
                let new = NewAccount { name: Name::parse("name", name)?, role, password };
                Ok(accounts.add(Actor::LOCAL.permit()?, new).await?.into())
            }
        }
    }

    /// Changes an account.
    pub async fn change(&self, which: &str, role: Option<Role>, password: Option<String>) -> Answer<AccountLine> {
        match self {
            Self::Running { client, .. } => {
                let body = json!({ "role": role.map(Role::as_str), "password": password });
                let path = format!("accounts/{}", segment(which));
                Ok(serde_json::from_value(ask(client, Method::PATCH, &path, Some(body)).await?)?)
            }
            Self::Stopped(folder) => {
                let accounts = &folder.1;
                Ok(accounts
                    .change(Actor::LOCAL.permit()?, which.to_owned(), Seen::default(), role, password)
                    .await?
                    .into())
            }
        }
    }

    /// All accounts.
    pub async fn accounts(&self) -> Answer<Vec<AccountLine>> {
        match self {
            Self::Running { client, .. } => {
                let mut found = Vec::new();
                let mut path = "accounts?limit=200".to_owned();
                loop {
                    let page: Page<AccountLine> = serde_json::from_value(ask(client, Method::GET, &path, None).await?)?;
                    found.extend(page.data);
                    match page.next_cursor {
                        Some(cursor) => path = format!("accounts?limit=200&cursor={cursor}"),
                        None => return Ok(found),
                    }
                }
            }
            Self::Stopped(folder) => {
                let accounts = &folder.1;
                let found = accounts.list(Actor::LOCAL.permit()?, None, usize::MAX)?;
                Ok(found.into_iter().map(AccountLine::from).collect())
            }
        }
    }

    /// Removes an account.
    pub async fn remove(&self, which: &str) -> Outcome {
        match self {
            Self::Running { client, .. } => {
                ask(client, Method::DELETE, &format!("accounts/{}", segment(which)), None).await?;
            }
            Self::Stopped(folder) => folder.1.remove(Actor::LOCAL.permit()?, which.to_owned()).await?,
        }
        Ok(())
    }

    /// Makes a token.
    pub async fn create_token(&self, account: String, label: String, days: Option<u64>) -> Answer<TokenLine> {
        match self {
            Self::Running { client, .. } => {
                let body = json!({ "account": account, "label": label, "expires_in_days": days });
                Ok(serde_json::from_value(ask(client, Method::POST, "tokens", Some(body)).await?)?)
            }
            Self::Stopped(folder) => {
                let accounts = &folder.1;
                let new = NewToken { label, account: Some(account), days };
                let (owned, secret) = accounts.create_token(Actor::LOCAL.permit()?, new).await?;
                Ok(TokenLine { token: Some(secret), ..owned.into() })
            }
        }
    }

    /// The tokens of an account.
    pub async fn tokens(&self, account: &str) -> Answer<Vec<TokenLine>> {
        match self {
            Self::Running { client, .. } => {
                let path = format!("tokens?account={}", segment(account));
                let page: Page<TokenLine> = serde_json::from_value(ask(client, Method::GET, &path, None).await?)?;
                Ok(page.data)
            }
            Self::Stopped(folder) => {
                let accounts = &folder.1;
                let found = accounts.tokens(Actor::LOCAL.permit()?, Some(account))?;
                Ok(found.into_iter().map(TokenLine::from).collect())
            }
        }
    }

    /// Ends a token.
    pub async fn revoke(&self, id: &str) -> Outcome {
        match self {
            Self::Running { client, .. } => {
                ask(client, Method::DELETE, &format!("tokens/{}", segment(id)), None).await?;
            }
            Self::Stopped(folder) => folder.1.revoke(Actor::LOCAL.permit()?, id.parse::<TokenId>()?).await?,
        }
        Ok(())
    }
}

fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

async fn ask(client: &Client, method: Method, path: &str, body: Option<Value>) -> Answer<Value> {
    let mut request: RequestBuilder = client.request(method, format!("http://localhost/api/v1/{path}"));
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = request.send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    if status.is_success() {
        return Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? });
    }
    let problem: Value = serde_json::from_str(&text).unwrap_or_default();
    Err(problem["detail"].as_str().map_or_else(|| format!("{status}: {text}"), str::to_owned).into())
}

fn time(at: Timestamp) -> String {
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_millis(at.0)).to_string()
}

impl From<Account> for AccountLine {
    fn from(account: Account) -> Self {
        Self {
            id: account.id.to_string(),
            name: account.name.as_str().to_owned(),
            role: account.role.as_str().to_owned(),
            has_password: account.password.is_some(),
            created_at: time(account.stamp.created_at),
        }
    }
}

impl From<Owned> for TokenLine {
    fn from(owned: Owned) -> Self {
        let Owned { token, owner } = owned;
        let kind = match token.kind {
            TokenKind::Token => "token",
            TokenKind::Session => "session",
        };
        Self {
            id: token.id.to_string(),
            account: owner,
            kind: kind.to_owned(),
            label: token.label,
            created_at: time(token.created_at),
            expires_at: token.expires_at.map(time),
            last_used_at: token.last_used_at.map(time),
            token: None,
        }
    }
}
