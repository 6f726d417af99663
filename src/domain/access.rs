//! Who may do what: roles, the cameras of a user, and what an address asks for.
//!
//! Does not belong here: how somebody shows who they are (`web::doors`), where users are kept (`archive::state`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a user or a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks at cameras and recordings, takes recordings out, starts an event by hand.
    Viewer,
    /// Everything, on all cameras.
    Admin,
}

impl Role {
    /// Its name in the database, the API and the command line.
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let roles = [Role::Viewer, Role::Admin];
        let found = roles.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| format!("there is no role {text:?} (there are viewer and admin)"))
    }
}

/// Which cameras somebody may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cameras {
    All,
    Only(BTreeSet<String>),
}

impl Cameras {
    /// Those of a list; all where there is none.
    pub fn from_list(list: Option<Vec<String>>) -> Self {
        list.map_or(Cameras::All, |names| Cameras::Only(names.into_iter().collect()))
    }

    pub fn has(&self, camera: &str) -> bool {
        match self {
            Cameras::All => true,
            Cameras::Only(names) => names.contains(camera),
        }
    }

    /// Their names; None for all.
    pub fn list(&self) -> Option<Vec<String>> {
        match self {
            Cameras::All => None,
            Cameras::Only(names) => Some(names.iter().cloned().collect()),
        }
    }
}

/// What an address asks of who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Nothing: whoever can reach it gets it. It shows no camera and changes nothing.
    Open,
    /// A user or token of any role; of cameras it shows only theirs.
    View,
    Admin,
}

impl Right {
    /// Is `role` enough? None: nobody in particular asks.
    pub fn is_held_by(self, role: Option<Role>) -> bool {
        match self {
            Right::Open => true,
            Right::View => role.is_some(),
            Right::Admin => role == Some(Role::Admin),
        }
    }
}

/// Longest name of a user or a token, in bytes.
pub const LONGEST_NAME: usize = 64;
/// Least and largest length of a password: in characters, and in bytes so that nobody has megabytes hashed.
const LEAST_PASSWORD: usize = 8;
const LONGEST_PASSWORD: usize = 1024;

/// Can a user or a token be called this? The error says why not.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) {
        return Err(format!("{name:?} is no name (use 1 to {LONGEST_NAME} of a-z, A-Z, 0-9, `.`, `_`, `-` and `@`)"));
    }
    Ok(())
}

/// Is a new password long enough? The error does not quote it.
pub fn check_password(password: &str) -> Result<(), String> {
    if password.chars().count() < LEAST_PASSWORD {
        return Err(format!(
            "the password is too short (use at least {LEAST_PASSWORD} characters; a few words are good)"
        ));
    }
    if password.len() > LONGEST_PASSWORD {
        return Err(format!("the password is too long (use at most {LONGEST_PASSWORD} bytes)"));
    }
    Ok(())
}

/// Role and cameras have to fit: an admin could give itself the other cameras.
pub fn check_scope(role: Role, cameras: &Cameras) -> Result<(), String> {
    match (role, cameras) {
        (Role::Admin, Cameras::Only(_)) => Err("an admin has all cameras (name cameras for viewers only)".to_owned()),
        _ => Ok(()),
    }
}

/// How long a login holds.
pub mod session {
    use chrono::{DateTime, TimeDelta, Utc};

    /// From the login on, however much it is used.
    pub const LONGEST: TimeDelta = TimeDelta::days(30);
    /// Since it was used last.
    pub const IDLE: TimeDelta = TimeDelta::days(7);
    /// Its use is written down so often: a write a request would wear the disk.
    pub const NOTED_EVERY: TimeDelta = TimeDelta::hours(1);

    /// Does a session still hold? One from the future does, within an hour: clocks are put back.
    pub fn holds(since: DateTime<Utc>, used: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        now - since < LONGEST && now - used < IDLE && since - now < TimeDelta::hours(1)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    #[test]
    fn rights() {
        for (right, nobody, viewer, admin) in
            [(Right::Open, true, true, true), (Right::View, false, true, true), (Right::Admin, false, false, true)]
        {
            assert_eq!(right.is_held_by(None), nobody, "{right:?}");
            assert_eq!(right.is_held_by(Some(Role::Viewer)), viewer, "{right:?}");
            assert_eq!(right.is_held_by(Some(Role::Admin)), admin, "{right:?}");
        }
    }

    #[test]
    fn names_and_passwords() {
        for name in ["a", "anna", "anna.b@example.org", "NVR_1", "-"] {
            check_name(name).unwrap();
        }
        for name in ["", "anna b", "änna", "a/b", "a\n", "<b>", &"a".repeat(65)] {
            check_name(name).unwrap_err();
        }
        check_password("eight ch").unwrap();
        check_password("äöüäöüäö").unwrap();
        for password in ["", "seven c", "äöüäöüä", &"a".repeat(1025)] {
            let why = check_password(password).unwrap_err();
            assert!(password.is_empty() || !why.contains(password));
        }
    }

    #[test]
    fn a_session_ends_a_week_after_its_last_use_and_a_month_after_its_beginning() {
        let start = DateTime::UNIX_EPOCH + TimeDelta::days(1000);
        let day = TimeDelta::days;
        for (used, now, holds) in [(0, 0, true), (0, 6, true), (0, 7, false), (25, 29, true), (29, 30, false)] {
            assert_eq!(session::holds(start, start + day(used), start + day(now)), holds, "{used} {now}");
        }
        assert!(session::holds(start, start, start - TimeDelta::minutes(59)));
        assert!(!session::holds(start, start, start - day(1)));
    }
}
