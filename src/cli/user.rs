//! `tarsier user`: who may come in.

use std::io::{self, BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};

use chrono::SecondsFormat;
use clap::{Args, Subcommand};

use super::people::{cameras, cameras_text, everyone, say, why, with_people};
use crate::archive::state::people::{User, UserChange};
use crate::clock;
use crate::domain::access::{self, Cameras, Role};
use crate::web::secret;

/// More than the longest password has.
const LONGEST_LINE: u64 = 4096;

/// What to do with users.
#[derive(Clone, Debug, Subcommand)]
pub enum UserCommand {
    /// Add a user; the password is asked for, or read from a pipe or a file
    #[command(
        after_help = "Examples:\n  tarsier user add anna --role admin\n  tarsier user add bert --camera front-door < bert.password"
    )]
    Add(AddArgs),
    /// List the users
    #[command(after_help = "Example:\n  tarsier user list")]
    List,
    /// Remove a user and end their logins
    #[command(after_help = "Example:\n  tarsier user remove bert")]
    Remove { name: String },
    /// Give a user another password and end their logins
    #[command(after_help = "Example:\n  tarsier user password anna")]
    Password {
        name: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Give a user another role, or other cameras
    #[command(after_help = "Examples:\n  tarsier user role bert admin\n  tarsier user role bert viewer --camera yard")]
    Role {
        name: String,
        /// viewer or admin
        role: Role,
        /// Only these cameras; all without it (may be given more than once)
        #[arg(long = "camera", value_name = "NAME")]
        cameras: Vec<String>,
    },
}

#[derive(Args, Clone, Debug)]
pub struct AddArgs {
    name: String,
    /// viewer or admin; the first user is an admin
    #[arg(long)]
    role: Option<Role>,
    /// Only this camera (may be given more than once)
    #[arg(long = "camera", value_name = "NAME")]
    cameras: Vec<String>,
    #[command(flatten)]
    password: PasswordArgs,
}

#[derive(Args, Clone, Debug)]
pub struct PasswordArgs {
    /// Read the password from the first line of this file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Runs one of the commands. Returns the exit code.
pub fn run(command: &UserCommand, config: &Path) -> anyhow::Result<u8> {
    with_people(config, |people, loaded| match command {
        UserCommand::Add(arguments) => {
            let is_first = everyone(people)?.users.is_empty();
            let cameras = cameras(&arguments.cameras, loaded)?;
            let role = arguments.role.unwrap_or(if is_first { Role::Admin } else { Role::Viewer });
            // Before anybody types a password for nothing.
            access::check_name(&arguments.name).and_then(|()| access::check_scope(role, &cameras))?;
            let password = secret::hash_password(&arguments.password.read(&arguments.name)?);
            let name = arguments.name.clone();
            people.add_user(&User { name, role, cameras, password, since: clock::utc_now() }).map_err(why)?;
            say(format!("user {} is there, as {}", arguments.name, role.name()));
            if is_first {
                say("from now on everyone has to log in; programs come in with a token (tarsier token add NAME)");
            }
            Ok(())
        }
        UserCommand::List => {
            let there = everyone(people)?;
            if there.users.is_empty() {
                say("there are no users: everything is open to this machine (tarsier user add NAME)");
            }
            for user in there.users.values() {
                let since = user.since.to_rfc3339_opts(SecondsFormat::Secs, true);
                say(format!("{:20} {:6} {since} {}", user.name, user.role.name(), cameras_text(&user.cameras)));
            }
            Ok(())
        }
        UserCommand::Remove { name } => {
            let is_loopback = loaded.global.web.listen.ip().is_loopback();
            people.remove_user(name, is_loopback).map_err(why)?;
            say(format!("user {name} is removed"));
            if everyone(people)?.users.is_empty() {
                say("that was the last one: everything is open to this machine again");
            }
            Ok(())
        }
        UserCommand::Password { name, password } => {
            let hash = secret::hash_password(&password.read(name)?);
            let change = UserChange { password: Some((hash, None)), ..UserChange::default() };
            people.change_user(name, &change).map_err(why)?;
            say(format!("user {name} has another password, and has to log in again"));
            Ok(())
        }
        UserCommand::Role { name, role, cameras: names } => {
            let cameras = cameras(names, loaded)?;
            let shown = if cameras == Cameras::All { "all cameras".to_owned() } else { cameras_text(&cameras) };
            let change = UserChange { role: Some(*role), cameras: Some(cameras), password: None };
            people.change_user(name, &change).map_err(why)?;
            say(format!("user {name} is {} now, of {shown}", role.name()));
            Ok(())
        }
    })
}

impl PasswordArgs {
    /// The new password: from the file, from whoever sits at the terminal, or from the pipe. Never from an argument,
    /// which everyone on the machine could read.
    fn read(&self, name: &str) -> Result<String, String> {
        let password = match &self.password_file {
            Some(path) => std::fs::File::open(path)
                .and_then(|file| first_line(&mut io::BufReader::new(file)))
                .map_err(|error| format!("--password-file {}: {error}", path.display()))?,
            None if io::stdin().is_terminal() => ask(name)?,
            None => {
                first_line(&mut io::stdin().lock()).map_err(|error| format!("the password cannot be read: {error}"))?
            }
        };
        access::check_password(&password)?;
        Ok(password)
    }
}

fn ask(name: &str) -> Result<String, String> {
    let prompt = |words: String| rpassword::prompt_password(words).map_err(|error| format!("no password: {error}"));
    let password = prompt(format!("Password of {name}: "))?;
    access::check_password(&password)?;
    if prompt("The same again: ".to_owned())? != password {
        return Err("these were two passwords (try again)".to_owned());
    }
    Ok(password)
}

fn first_line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.take(LONGEST_LINE).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
