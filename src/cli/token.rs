//! `tarsier token`: how programs come in.

use std::path::Path;
use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta};
use clap::{Args, Subcommand};

use super::people::{cameras, cameras_text, everyone, say, why, with_people};
use crate::archive::state::people::Token;
use crate::clock;
use crate::config;
use crate::domain::access::Role;
use crate::web::secret;

/// What to do with tokens.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenCommand {
    /// Add a token and print it, once: it goes into the header `Authorization: Bearer TOKEN`
    #[command(
        after_help = "Examples:\n  tarsier token add prometheus\n  tarsier token add doorbell --camera front-door --expires 365d"
    )]
    Add(AddArgs),
    /// List the tokens, without their secrets
    #[command(after_help = "Example:\n  tarsier token list")]
    List,
    /// Remove a token: it opens nothing from now on
    #[command(after_help = "Example:\n  tarsier token remove doorbell")]
    Remove { name: String },
}

#[derive(Args, Clone, Debug)]
pub struct AddArgs {
    name: String,
    /// viewer or admin
    #[arg(long, default_value = "viewer")]
    role: Role,
    /// Only this camera (may be given more than once)
    #[arg(long = "camera", value_name = "NAME")]
    cameras: Vec<String>,
    /// How long it holds; without it until it is removed
    #[arg(long, value_name = "DURATION", value_parser = config::duration)]
    expires: Option<Duration>,
}

/// Runs one of the commands. Returns the exit code.
pub fn run(command: &TokenCommand, config: &Path) -> anyhow::Result<u8> {
    with_people(config, |people, loaded| match command {
        TokenCommand::Add(arguments) => {
            let AddArgs { name, role, cameras: names, expires } = arguments.clone();
            let since = clock::utc_now();
            let expires = match expires {
                None => None,
                Some(span) => Some(
                    TimeDelta::from_std(span)
                        .ok()
                        .and_then(|span| since.checked_add_signed(span))
                        .ok_or("--expires is too long (leave it out for a token without an end)")?,
                ),
            };
            let secret = secret::random_token();
            let token = Token { name, role, cameras: cameras(&names, loaded)?, since, expires };
            people.add_token(&secret::digest(&secret), &token).map_err(why)?;
            say(&secret);
            eprintln!("keep it: it is shown only now");
            Ok(())
        }
        TokenCommand::List => {
            let there = everyone(people)?;
            for token in there.tokens_by_name() {
                let time = |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
                let until = match token.expires {
                    None => "until it is removed".to_owned(),
                    Some(end) if end <= clock::utc_now() => format!("expired {}", time(end)),
                    Some(end) => format!("until {}", time(end)),
                };
                let cameras = cameras_text(&token.cameras);
                say(format!("{:20} {:6} {} {until} {cameras}", token.name, token.role.name(), time(token.since)));
            }
            Ok(())
        }
        TokenCommand::Remove { name } => {
            people.remove_token(name).map_err(why)?;
            say(format!("token {name} is removed"));
            Ok(())
        }
    })
}
