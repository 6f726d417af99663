//! Who may come in: users, their logins (sessions) and tokens for programs.
//!
//! Kept of a password is only its hash, of a session or a token only the digest of its secret: whoever reads the file
//! can't come in with what is in it. Belongs here: the rows and the rules that hold between them. Does not belong
//! here: how passwords are hashed and requests are judged (`web`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params};

use super::{FILE_NAME, StateError, identity, open};
use crate::domain::access::{self, Cameras, Role, session};

/// Logins a user may have at one time; the one that was used longest ago ends.
const MOST_SESSIONS: usize = 100;

/// The file outside of the archive that remembers that it has users. While their disk is missing, nobody may come in
/// as if there were none.
pub const NOTE_NAME: &str = ".tarsier-users-seen";

pub(super) const TABLES: &str = "
    CREATE TABLE users (
        name TEXT PRIMARY KEY,
        role TEXT NOT NULL,
        -- With a space between; NULL: all.
        cameras TEXT,
        -- PHC string.
        password TEXT NOT NULL,
        since_us INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE tokens (
        name TEXT PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,
        role TEXT NOT NULL,
        cameras TEXT,
        since_us INTEGER NOT NULL,
        expires_us INTEGER
    ) STRICT;
    CREATE TABLE sessions (
        digest BLOB PRIMARY KEY,
        user TEXT NOT NULL,
        since_us INTEGER NOT NULL,
        used_us INTEGER NOT NULL
    ) STRICT;
";

/// SHA-256 of a session's or a token's secret.
pub type Digest = [u8; 32];

#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub role: Role,
    pub cameras: Cameras,
    /// The hash of the password, as a PHC string.
    pub password: String,
    pub since: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub name: String,
    pub role: Role,
    pub cameras: Cameras,
    pub since: DateTime<Utc>,
    /// None: it holds until it is removed.
    pub expires: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub user: String,
    pub since: DateTime<Utc>,
    pub used: DateTime<Utc>,
}

/// What changes of a user; None: it stays.
#[derive(Default)]
pub struct UserChange {
    pub role: Option<Role>,
    pub cameras: Option<Cameras>,
    /// The new hash. Ends all sessions of the user but this one.
    pub password: Option<(String, Option<Digest>)>,
}

/// Everyone at one moment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct People {
    pub users: BTreeMap<String, User>,
    pub tokens: HashMap<Digest, Token>,
    pub sessions: HashMap<Digest, Session>,
}

impl People {
    pub fn tokens_by_name(&self) -> Vec<&Token> {
        let mut tokens: Vec<&Token> = self.tokens.values().collect();
        tokens.sort_by(|one, other| one.name.cmp(&other.name));
        tokens
    }
}

/// Why somebody was not changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PeopleError {
    #[error(transparent)]
    State(#[from] StateError),
    /// What is against it, and what to do.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    NoSuch(String),
}

/// The users of one archive.
pub struct PeopleDb {
    path: PathBuf,
    note: PathBuf,
    held: Mutex<Option<Held>>,
}

/// What was read last, and the connection that knows whether it still holds.
struct Held {
    file: (u64, u64),
    connection: Connection,
    version: i64,
    people: Arc<People>,
}

impl PeopleDb {
    /// Of the archive with this root. The file is made with the first user; that there are any is remembered in
    /// `note_folder`.
    pub fn of(archive_root: &Path, note_folder: &Path) -> Self {
        let (path, note) = (archive_root.join(FILE_NAME), note_folder.join(NOTE_NAME));
        PeopleDb { path, note, held: Mutex::new(None) }
    }

    /// Had this archive users when it was seen last?
    pub fn had_users(&self) -> bool {
        // One of another archive says nothing of this.
        std::fs::read_to_string(&self.note).is_ok_and(|text| Path::new(text.trim_end()) == self.path)
    }

    /// Where that is remembered.
    pub fn note(&self) -> &Path {
        &self.note
    }

    fn remember(&self, people: &People) {
        let had = self.had_users();
        let done = match !people.users.is_empty() {
            has if has == had => return,
            true => std::fs::write(&self.note, format!("{}\n", self.path.display())),
            false => std::fs::remove_file(&self.note),
        };
        if let Err(error) = done {
            let note = self.note.display();
            tracing::warn!(
                "{note} cannot be written: {error} (while {} is missing, it is taken as it says)",
                self.path.display()
            );
        }
    }

    /// Everyone, as of now, whoever changed it last. None: the file is not there. Blocks as long as the disk does.
    pub fn read(&self) -> Result<Option<Arc<People>>, StateError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = identity(&self.path) else {
            *held = None;
            return Ok(None);
        };
        let kept = held.take().filter(|held| held.file == file);
        let read = || {
            let connection = match kept {
                Some(held) => {
                    let version = data_version(&held.connection)?;
                    if version == held.version {
                        return Ok(held);
                    }
                    held.connection
                }
                None => open(&self.path)?,
            };
            // The version first: a change that comes between is seen the next time.
            let version = data_version(&connection)?;
            let people = Arc::new(people_of(&connection)?);
            self.remember(&people);
            Ok(Held { file, connection, version, people })
        };
        let read = read().map_err(|error| self.error(&error))?;
        let people = Arc::clone(&read.people);
        *held = Some(read);
        Ok(Some(people))
    }

    /// Adds a user. The first one has to be an admin.
    pub fn add_user(&self, user: &User) -> Result<(), PeopleError> {
        access::check_name(&user.name).map_err(PeopleError::Refused)?;
        access::check_scope(user.role, &user.cameras).map_err(PeopleError::Refused)?;
        self.change_or_create(|transaction, people| {
            if people.users.contains_key(&user.name) {
                return Err(refuse(format!("there is a user {:?} already", user.name)));
            }
            put_user(transaction, user)?;
            Ok(Keeps::AnAdmin)
        })
    }

    /// Changes a user.
    pub fn change_user(&self, name: &str, change: &UserChange) -> Result<(), PeopleError> {
        self.change(|transaction, people| {
            let mut user = people.users.get(name).cloned().ok_or_else(|| no_user(name, people))?;
            user.role = change.role.unwrap_or(user.role);
            match &change.cameras {
                Some(cameras) => user.cameras = cameras.clone(),
                None if user.role == Role::Admin => user.cameras = Cameras::All,
                None => {}
            }
            access::check_scope(user.role, &user.cameras).map_err(PeopleError::Refused)?;
            if let Some((hash, kept)) = &change.password {
                user.password = hash.clone();
                let kept = kept.unwrap_or_default();
                transaction
                    .execute("DELETE FROM sessions WHERE user = ? AND digest <> ?", params![name, kept.as_slice()])?;
            }
            put_user(transaction, &user)?;
            Ok(Keeps::AnAdmin)
        })
    }

    /// Removes a user with all sessions. The last one only where `may_be_last`.
    pub fn remove_user(&self, name: &str, may_be_last: bool) -> Result<(), PeopleError> {
        self.change(|transaction, people| {
            if !people.users.contains_key(name) {
                return Err(no_user(name, people));
            }
            transaction.execute("DELETE FROM sessions WHERE user = ?", [name])?;
            transaction.execute("DELETE FROM users WHERE name = ?", [name])?;
            Ok(if may_be_last { Keeps::AnAdminOrNobody } else { Keeps::AnAdmin })
        })
    }

    /// Adds a token, known by the digest of its secret.
    pub fn add_token(&self, digest: &Digest, token: &Token) -> Result<(), PeopleError> {
        access::check_name(&token.name).map_err(PeopleError::Refused)?;
        access::check_scope(token.role, &token.cameras).map_err(PeopleError::Refused)?;
        self.change(|transaction, people| {
            if people.users.is_empty() {
                let why =
                    "there are no users, and without them everything is open (add one first: tarsier user add NAME)";
                return Err(refuse(why));
            }
            if people.tokens.values().any(|there| there.name == token.name) {
                return Err(refuse(format!("there is a token {:?} already", token.name)));
            }
            transaction.execute(
                "INSERT INTO tokens (name, digest, role, cameras, since_us, expires_us) VALUES (?, ?, ?, ?, ?, ?)",
                params![
                    token.name,
                    digest.as_slice(),
                    token.role.name(),
                    cameras_text(&token.cameras),
                    token.since.timestamp_micros(),
                    token.expires.map(|at| at.timestamp_micros()),
                ],
            )?;
            Ok(Keeps::Whoever)
        })
    }

    pub fn remove_token(&self, name: &str) -> Result<(), PeopleError> {
        self.change(|transaction, people| {
            if transaction.execute("DELETE FROM tokens WHERE name = ?", [name])? == 0 {
                let names: BTreeSet<&str> = people.tokens.values().map(|token| token.name.as_str()).collect();
                return Err(PeopleError::NoSuch(format!("there is no token {name:?} ({})", known(names))).into());
            }
            Ok(Keeps::Whoever)
        })
    }

    /// A login that succeeded against `password`, the hash that the user had. Sessions that are over go.
    pub fn begin_session(
        &self,
        digest: &Digest,
        user: &str,
        password: &str,
        now: DateTime<Utc>,
    ) -> Result<(), PeopleError> {
        self.change(|transaction, people| {
            if people.users.get(user).is_none_or(|there| there.password != password) {
                return Err(refuse(format!("user {user:?} was changed meanwhile (log in again)")));
            }
            let mut of_user: Vec<(&Digest, &Session)> = Vec::new();
            for (old, session) in &people.sessions {
                if !session::holds(session.since, session.used, now) {
                    end(transaction, old)?;
                } else if session.user == user {
                    of_user.push((old, session));
                }
            }
            of_user.sort_by_key(|(_, session)| std::cmp::Reverse(session.used));
            for (old, _) in of_user.iter().skip(MOST_SESSIONS - 1) {
                end(transaction, old)?;
            }
            transaction.execute(
                "INSERT INTO sessions (digest, user, since_us, used_us) VALUES (?1, ?2, ?3, ?3)",
                params![digest.as_slice(), user, now.timestamp_micros()],
            )?;
            Ok(Keeps::Whoever)
        })
    }

    /// Notes that a session is in use.
    pub fn use_session(&self, digest: &Digest, now: DateTime<Utc>) -> Result<(), PeopleError> {
        self.change(|transaction, _| {
            let used = params![now.timestamp_micros(), digest.as_slice()];
            transaction.execute("UPDATE sessions SET used_us = ? WHERE digest = ?", used)?;
            Ok(Keeps::Whoever)
        })
    }

    pub fn end_session(&self, digest: &Digest) -> Result<(), PeopleError> {
        self.change(|transaction, _| {
            end(transaction, digest)?;
            Ok(Keeps::Whoever)
        })
    }

    /// A change of what is there. A file that is missing is not made: its disk may be.
    fn change(
        &self,
        change: impl FnOnce(&Transaction<'_>, &People) -> Result<Keeps, Fault>,
    ) -> Result<(), PeopleError> {
        if identity(&self.path).is_none() && !self.had_users() {
            return Err(PeopleError::NoSuch("there are no users (tarsier user add NAME)".to_owned()));
        }
        self.change_or_create(change)
    }

    /// Runs a change on its own connection, with what there is, and all of it or nothing is on the disk when this
    /// returns.
    fn change_or_create(
        &self,
        change: impl FnOnce(&Transaction<'_>, &People) -> Result<Keeps, Fault>,
    ) -> Result<(), PeopleError> {
        if identity(&self.path).is_none() && self.had_users() {
            let what = format!(
                "it is not there (mount the archive's disk; or, if it is to begin anew, remove {})",
                self.note.display()
            );
            return Err(StateError { path: self.path.clone(), what }.into());
        }
        let run = || {
            let mut connection = open(&self.path)?;
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let keeps = change(&transaction, &people_of(&transaction)?)?;
            let people = people_of(&transaction)?;
            keeps.check(&people)?;
            transaction.commit()?;
            self.remember(&people);
            Ok(())
        };
        run().map_err(|fault| match fault {
            Fault::Sql(error) => self.error(&error).into(),
            Fault::People(error) => error,
        })
    }

    fn error(&self, error: &rusqlite::Error) -> StateError {
        StateError { path: self.path.clone(), what: error.to_string() }
    }
}

/// What has to hold after a change.
enum Keeps {
    /// There is an admin: without one nobody could let anybody in.
    AnAdmin,
    AnAdminOrNobody,
    /// It is not about users.
    Whoever,
}

impl Keeps {
    fn check(self, people: &People) -> Result<(), PeopleError> {
        let has_admin = people.users.values().any(|user| user.role == Role::Admin);
        let why = match self {
            Keeps::Whoever => return Ok(()),
            _ if has_admin => return Ok(()),
            Keeps::AnAdminOrNobody if people.users.is_empty() => return Ok(()),
            _ if people.users.is_empty() => {
                "this is the last user, and web.listen can be reached from other machines (listen on 127.0.0.1 first)"
            }
            _ => "there would be users but no admin among them (make another one admin first)",
        };
        Err(PeopleError::Refused(why.to_owned()))
    }
}

/// What a change may end with.
enum Fault {
    Sql(rusqlite::Error),
    People(PeopleError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Fault::Sql(error)
    }
}

impl From<PeopleError> for Fault {
    fn from(error: PeopleError) -> Self {
        Fault::People(error)
    }
}

fn refuse(why: impl Into<String>) -> Fault {
    PeopleError::Refused(why.into()).into()
}

fn no_user(name: &str, people: &People) -> Fault {
    let known = known(people.users.keys().map(String::as_str));
    PeopleError::NoSuch(format!("there is no user {name:?} ({known})")).into()
}

fn known<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() { "there is none at all".to_owned() } else { format!("known: {}", names.join(", ")) }
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}

fn put_user(transaction: &Transaction<'_>, user: &User) -> rusqlite::Result<usize> {
    transaction.execute(
        "INSERT OR REPLACE INTO users (name, role, cameras, password, since_us) VALUES (?, ?, ?, ?, ?)",
        params![user.name, user.role.name(), cameras_text(&user.cameras), user.password, user.since.timestamp_micros()],
    )
}

fn end(transaction: &Transaction<'_>, digest: &Digest) -> rusqlite::Result<usize> {
    transaction.execute("DELETE FROM sessions WHERE digest = ?", [digest.as_slice()])
}

fn people_of(connection: &Connection) -> rusqlite::Result<People> {
    let users = all(connection, "SELECT name, role, cameras, password, since_us FROM users", |row| {
        let name: String = row.get(0)?;
        let user = User {
            name: name.clone(),
            role: role(row, 1)?,
            cameras: cameras(row, 2)?,
            password: row.get(3)?,
            since: time(row, 4)?,
        };
        Ok((name, user))
    })?;
    let tokens = all(connection, "SELECT digest, name, role, cameras, since_us, expires_us FROM tokens", |row| {
        let token = Token {
            name: row.get(1)?,
            role: role(row, 2)?,
            cameras: cameras(row, 3)?,
            since: time(row, 4)?,
            expires: row.get::<_, Option<i64>>(5)?.map(time_of),
        };
        Ok((row.get(0)?, token))
    })?;
    let sessions = all(connection, "SELECT digest, user, since_us, used_us FROM sessions", |row| {
        Ok((row.get(0)?, Session { user: row.get(1)?, since: time(row, 2)?, used: time(row, 3)? }))
    })?;
    Ok(People { users, tokens, sessions })
}

fn all<K, V, M: FromIterator<(K, V)>>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<(K, V)>,
) -> rusqlite::Result<M> {
    connection.prepare(sql)?.query_map([], read)?.collect()
}

/// A role that this version does not know is no reason to let more happen than looking.
fn role(row: &Row<'_>, at: usize) -> rusqlite::Result<Role> {
    Ok(row.get_ref(at)?.as_str().ok().and_then(|text| text.parse().ok()).unwrap_or(Role::Viewer))
}

fn cameras(row: &Row<'_>, at: usize) -> rusqlite::Result<Cameras> {
    let text: Option<String> = row.get(at)?;
    Ok(Cameras::from_list(text.map(|text| text.split_whitespace().map(str::to_owned).collect())))
}

fn cameras_text(cameras: &Cameras) -> Option<String> {
    cameras.list().map(|names| names.join(" "))
}

fn time(row: &Row<'_>, at: usize) -> rusqlite::Result<DateTime<Utc>> {
    Ok(time_of(row.get(at)?))
}

fn time_of(us: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(us).unwrap_or(DateTime::<Utc>::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use chrono::TimeDelta;

    use super::super::StateDb;
    use super::*;
    use crate::archive::index::tests::at;

    fn user(name: &str, role: Role) -> User {
        User { name: name.to_owned(), role, cameras: Cameras::All, password: format!("hash of {name}"), since: at(0) }
    }

    fn token(name: &str) -> Token {
        Token { name: name.to_owned(), role: Role::Viewer, cameras: Cameras::All, since: at(0), expires: None }
    }

    fn refused<T: std::fmt::Debug>(done: Result<T, PeopleError>) -> String {
        match done.unwrap_err() {
            PeopleError::Refused(why) => why,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn whoever_changes_it_everyone_sees_it() {
        let folder = tempfile::tempdir().unwrap();
        let (daemon, cli) = (PeopleDb::of(folder.path(), folder.path()), PeopleDb::of(folder.path(), folder.path()));
        assert!(daemon.read().unwrap().is_none(), "nothing to keep, no file");
        cli.add_user(&user("anna", Role::Admin)).unwrap();
        let file = folder.path().join(FILE_NAME);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let people = daemon.read().unwrap().unwrap();
        assert_eq!(people.users["anna"].role, Role::Admin);
        assert!(Arc::ptr_eq(&people, &daemon.read().unwrap().unwrap()), "read once");

        let only = Cameras::Only(["yard".to_owned(), "door".to_owned()].into());
        cli.add_user(&User { cameras: only.clone(), ..user("bert", Role::Viewer) }).unwrap();
        cli.add_token(&[7; 32], &Token { cameras: only.clone(), expires: Some(at(9)), ..token("doorbell") }).unwrap();
        let people = daemon.read().unwrap().unwrap();
        assert_eq!(people.users["bert"].cameras, only);
        assert_eq!(people.tokens[&[7; 32]], Token { cameras: only, expires: Some(at(9)), ..token("doorbell") });
        cli.remove_token("doorbell").unwrap();
        assert!(daemon.read().unwrap().unwrap().tokens.is_empty());
        assert!(cli.remove_token("doorbell").unwrap_err().to_string().contains("there is none at all"));

        // Protection beside it neither harms it nor is harmed.
        StateDb::of(folder.path()).protect("yard/1.mp4", 1, at(0)).unwrap();
        assert_eq!(daemon.read().unwrap().unwrap().users.len(), 2);
        std::fs::remove_file(&file).unwrap();
        assert!(daemon.read().unwrap().is_none());
        assert!(cli.add_user(&user("carl", Role::Admin)).unwrap_err().to_string().contains("is not there"));
        assert!(!file.exists(), "not made where its disk may be missing");
        assert!(daemon.had_users(), "it is remembered that somebody was there");
        assert!(!PeopleDb::of(&folder.path().join("other"), folder.path()).had_users());
    }

    #[test]
    fn where_there_are_users_there_is_an_admin() {
        let folder = tempfile::tempdir().unwrap();
        let db = PeopleDb::of(folder.path(), folder.path());
        assert!(db.add_token(&[1; 32], &token("early")).unwrap_err().to_string().contains("tarsier user add"));
        assert!(refused(db.add_user(&user("anna", Role::Viewer))).contains("no admin"));
        db.add_user(&user("anna", Role::Admin)).unwrap();
        db.add_user(&user("bert", Role::Viewer)).unwrap();
        assert!(refused(db.add_user(&user("bert", Role::Viewer))).contains("already"));
        let to_viewer = UserChange { role: Some(Role::Viewer), ..UserChange::default() };
        assert!(refused(db.change_user("anna", &to_viewer)).contains("no admin"));
        assert!(refused(db.remove_user("anna", true)).contains("no admin"));
        assert!(db.remove_user("carl", true).unwrap_err().to_string().contains("known: anna, bert"));
        db.remove_user("bert", false).unwrap();
        assert!(refused(db.remove_user("anna", false)).contains("last user"));
        db.remove_user("anna", true).unwrap();
        assert!(db.read().unwrap().unwrap().users.is_empty());
        assert!(!db.had_users());
    }

    #[test]
    fn an_admin_has_all_cameras() {
        let folder = tempfile::tempdir().unwrap();
        let db = PeopleDb::of(folder.path(), folder.path());
        let only = Cameras::Only(["yard".to_owned()].into());
        refused(db.add_user(&User { cameras: only.clone(), ..user("anna", Role::Admin) }));
        db.add_user(&user("anna", Role::Admin)).unwrap();
        db.add_user(&User { cameras: only.clone(), ..user("bert", Role::Viewer) }).unwrap();
        let change = |role, cameras| UserChange { role, cameras, password: None };
        refused(db.change_user("anna", &change(None, Some(only))));
        db.change_user("bert", &change(Some(Role::Admin), None)).unwrap();
        assert_eq!(db.read().unwrap().unwrap().users["bert"].cameras, Cameras::All);
    }

    #[test]
    fn sessions_end_with_their_time_their_user_and_their_password() {
        let folder = tempfile::tempdir().unwrap();
        let db = PeopleDb::of(folder.path(), folder.path());
        db.add_user(&user("anna", Role::Admin)).unwrap();
        db.add_user(&user("bert", Role::Viewer)).unwrap();
        let begin =
            |name: &str, digest: u8, now| db.begin_session(&[digest; 32], name, &format!("hash of {name}"), now);
        let left = || {
            let mut left: Vec<u8> = db.read().unwrap().unwrap().sessions.keys().map(|digest| digest[0]).collect();
            left.sort_unstable();
            left
        };
        begin("anna", 1, at(0)).unwrap();
        begin("anna", 2, at(1)).unwrap();
        begin("bert", 3, at(1)).unwrap();
        assert_eq!(left(), [1, 2, 3]);
        let password = Some(("new".to_owned(), Some([2; 32])));
        db.change_user("anna", &UserChange { password, ..UserChange::default() }).unwrap();
        assert_eq!(left(), [2, 3], "all but the one that changed it");
        assert!(refused(begin("anna", 4, at(2))).contains("meanwhile"), "the old password's login comes too late");
        db.use_session(&[3; 32], at(0) + TimeDelta::days(6)).unwrap();
        begin("bert", 5, at(0) + TimeDelta::days(8)).unwrap();
        assert_eq!(left(), [3, 5], "one that was not used for a week is gone");
        db.end_session(&[5; 32]).unwrap();
        db.remove_user("bert", true).unwrap();
        assert_eq!(left(), [0; 0]);
    }

    #[test]
    fn a_user_has_so_many_sessions_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let db = PeopleDb::of(folder.path(), folder.path());
        db.add_user(&user("anna", Role::Admin)).unwrap();
        for n in 0..=MOST_SESSIONS as u8 {
            db.begin_session(&[n; 32], "anna", "hash of anna", at(n.into())).unwrap();
        }
        let sessions = &db.read().unwrap().unwrap().sessions;
        assert_eq!(sessions.len(), MOST_SESSIONS);
        assert!(!sessions.contains_key(&[0; 32]), "the one used longest ago made room");
    }
}
