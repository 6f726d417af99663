//! Who asks: by a login's cookie or a token, and what they may see. Without users, everyone who can reach the server.
//!
//! The users are in a file that the command line changes too, so each request looks whether it changed. A disk that
//! hangs keeps nobody out who is known, and one that is missing lets nobody in.

use std::collections::BTreeSet;
use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, COOKIE, HeaderMap};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Mutex as AsyncMutex, Semaphore, watch};

use super::{Problem, blocking, secret};
use crate::archive::state::people::{Digest, People, PeopleDb, PeopleError};
use crate::clock;
use crate::domain::access::{Cameras, Right, Role, session};
use crate::domain::throttle::Throttle;

/// The cookie of a login.
pub const COOKIE_NAME: &str = "tarsier_session";
/// Longest wait for the disk to say whether the users changed, and where nothing is asked of who comes.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
const GLANCE_TIMEOUT: Duration = Duration::from_millis(200);
/// How often long answers (streams) look whether they may go on.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Longest wait between two attempts to log in: as one user, who is not to be kept out for long by others, and from
/// one address.
const LONGEST_WAIT_OF_USER: Duration = Duration::from_secs(60);
const LONGEST_WAIT_OF_ADDRESS: Duration = Duration::from_secs(15 * 60);
/// Logins that wait for their password to be compared; one at a time is.
const MOST_WAITING: usize = 16;
/// So much of a name tells two names apart.
const NAME_KEY: usize = 64;

/// What is known of the users.
#[derive(Clone)]
enum Known {
    /// There are none, and only this machine reaches the server.
    Nobody,
    People(Arc<People>),
    /// Why nobody may come in.
    Closed(String),
}

/// How somebody showed who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    None,
    Session(Digest),
    Token(Digest),
}

/// Who asks, for a handler's arguments: put there by the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    name: Option<String>,
    role: Option<Role>,
    cameras: Cameras,
    key: Key,
}

impl Who {
    /// Where there are no users.
    pub fn everyone() -> Self {
        Who { name: None, role: Some(Role::Admin), cameras: Cameras::All, key: Key::None }
    }

    /// Somebody who has not shown who they are.
    pub fn nobody() -> Self {
        Who { name: None, role: None, cameras: Cameras::Only(BTreeSet::new()), key: Key::None }
    }

    /// The user's or the token's name.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub fn role(&self) -> Option<Role> {
        self.role
    }

    pub fn cameras(&self) -> &Cameras {
        &self.cameras
    }

    /// May they see this camera, and what was recorded of it?
    pub fn sees(&self, camera: &str) -> bool {
        self.cameras.has(camera)
    }

    /// May they see what concerns a camera, or all of them?
    pub fn sees_of(&self, camera: Option<&str>) -> bool {
        camera.is_none_or(|camera| self.sees(camera))
    }

    pub fn sees_all(&self) -> bool {
        self.cameras == Cameras::All
    }

    pub fn is_nobody(&self) -> bool {
        self.role.is_none()
    }

    /// The login by which they came, if it was one.
    pub fn session(&self) -> Option<Digest> {
        match self.key {
            Key::Session(digest) => Some(digest),
            Key::None | Key::Token(_) => None,
        }
    }

    /// What they lack for something that asks this right.
    pub fn check(&self, right: Right) -> Result<(), Problem> {
        if right.is_held_by(self.role) {
            return Ok(());
        }
        match (self.role, &self.name) {
            (Some(role), Some(name)) => Err(Problem::new(
                StatusCode::FORBIDDEN,
                format!("{name} is a {}, and this takes an admin (log in as one)", role.name()),
            )),
            _ => Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "log in first: a person at /login, a program with `Authorization: Bearer TOKEN` (tarsier token add NAME)",
            )),
        }
    }
}

impl FromRequest for Who {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let who = request.extensions().get::<Who>().cloned();
        ready(who.ok_or_else(|| Problem::internal("nobody was asked who they are")))
    }
}

/// Why somebody was not let in.
#[derive(Debug)]
pub enum Refused {
    /// There are no users.
    NoUsers,
    /// User and password do not fit.
    Wrong,
    /// Too many attempts: wait so long.
    Wait(Duration),
    Problem(Problem),
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoUsers => Problem::conflict("there are no users, and everything is open (tarsier user add NAME)"),
            Refused::Wrong => Problem::new(StatusCode::UNAUTHORIZED, "user and password do not fit"),
            Refused::Wait(wait) => {
                let seconds = wait.as_secs_f64().ceil() as u64;
                let detail = format!("too many attempts to log in (wait {seconds} s)");
                Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(seconds)
            }
            Refused::Problem(problem) => problem,
        }
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Refused::Problem(problem)
    }
}

impl From<PeopleError> for Problem {
    fn from(error: PeopleError) -> Self {
        match error {
            PeopleError::State(error) => Problem::unavailable(error.to_string()),
            PeopleError::Refused(why) => Problem::conflict(why),
            PeopleError::NoSuch(why) => Problem::not_found(why),
        }
    }
}

/// The doors of one server.
pub struct Doors {
    people: Arc<PeopleDb>,
    is_loopback: bool,
    known: watch::Sender<Known>,
    /// Held by whoever reads the users; a disk that hangs holds one reader and no more.
    turn: Arc<AsyncMutex<()>>,
    by_user: Mutex<Throttle<String>>,
    by_address: Mutex<Throttle<IpAddr>>,
    waiting: Arc<Semaphore>,
    hashing: Arc<Semaphore>,
}

impl Doors {
    /// `is_loopback`: only this machine reaches the server.
    pub fn new(people: PeopleDb, is_loopback: bool) -> Self {
        Doors {
            people: Arc::new(people),
            is_loopback,
            known: watch::channel(Known::Closed("the users have not been read yet".to_owned())).0,
            turn: Arc::default(),
            by_user: Mutex::new(Throttle::new(LONGEST_WAIT_OF_USER)),
            by_address: Mutex::new(Throttle::new(LONGEST_WAIT_OF_ADDRESS)),
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
            hashing: Arc::new(Semaphore::new(1)),
        }
    }

    /// Are there users, or is it at least known that there were? Of a server that others reach.
    pub async fn are_guarded(&self) -> bool {
        let known = self.look().await;
        matches!(known, Known::People(_)) || self.people.had_users()
    }

    /// Looks every few seconds, for those who do not ask themselves, until the server stops.
    pub async fn keep_looking(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let stop = async move { _ = stopping.wait_for(|stopping| *stopping).await };
        let look = async {
            loop {
                self.look().await;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! { () = stop => {}, () = look => {} }
    }

    /// Who asks. `right` is what the address takes.
    pub async fn who(&self, headers: &HeaderMap, right: Right) -> Result<Who, Problem> {
        let timeout = if right == Right::Open { GLANCE_TIMEOUT } else { LOOK_TIMEOUT };
        let known = self.look_within(timeout).await;
        let who = match &known {
            Known::Nobody => Who::everyone(),
            Known::People(people) => key(headers).map_or_else(Who::nobody, |key| of(people, key, clock::utc_now())),
            Known::Closed(_) if right == Right::Open => Who::nobody(),
            Known::Closed(why) => return Err(Problem::unavailable(why)),
        };
        self.note_use(&known, &who);
        Ok(who)
    }

    /// Ends when `who` may no longer do what they could.
    pub fn end_of(&self, who: Who) -> impl Future<Output = ()> + use<> {
        let mut known = self.known.subscribe();
        async move {
            loop {
                let now = match &*known.borrow_and_update() {
                    Known::Nobody => Who::everyone(),
                    Known::People(people) => of(people, who.key, clock::utc_now()),
                    Known::Closed(_) => Who::nobody(),
                };
                if now != who {
                    return;
                }
                // Logins end by time too.
                if let Ok(Err(_)) = tokio::time::timeout(LOOK_EVERY, known.changed()).await {
                    return;
                }
            }
        }
    }

    /// Lets a person in who knows the password, and gives the secret for their cookie.
    pub async fn log_in(&self, address: IpAddr, user: &str, password: String) -> Result<String, Refused> {
        let people = match self.look().await {
            Known::People(people) => people,
            Known::Nobody => return Err(Refused::NoUsers),
            Known::Closed(why) => return Err(Problem::unavailable(why).into()),
        };
        let (name, address) = (user.chars().take(NAME_KEY).collect::<String>(), block(address));
        // Before anything is counted, so that a flood of logins keeps no user out.
        let busy = || Problem::unavailable("too many log in just now (try again)");
        let _place = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| busy())?;
        self.attempt(&name, address).inspect_err(|_| tracing::debug!(%address, "a login has to wait"))?;
        let turn = Arc::clone(&self.hashing).acquire_owned().await.map_err(|_| busy())?;
        let hash = people.users.get(user).map(|user| user.password.clone());
        let known_hash = hash.clone();
        let is_right = blocking(move || {
            let is_right = secret::is_password(&password, hash.as_deref());
            drop(turn);
            is_right
        })
        .await?;
        let Some(hash) = known_hash.filter(|_| is_right) else {
            // Not the name of one who is not there: people type their password into the wrong field.
            let user = if people.users.contains_key(user) { user } else { "nobody we know" };
            tracing::warn!(%address, user, "a login failed");
            return Err(Refused::Wrong);
        };
        let session = secret::random();
        let (people, digest, owner) = (Arc::clone(&self.people), secret::digest(&session), user.to_owned());
        let begun = blocking(move || people.begin_session(&digest, &owner, &hash, clock::utc_now())).await?;
        begun.map_err(Problem::from)?;
        self.by_user.lock().unwrap_or_else(PoisonError::into_inner).forget(&name);
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner).succeeded(&address);
        tracing::info!(%address, user, "logged in");
        Ok(session)
    }

    /// Ends the login by which `who` came.
    pub async fn log_out(&self, who: &Who) -> Result<(), Problem> {
        let Some(digest) = who.session() else { return Ok(()) };
        self.change(move |people| people.end_session(&digest)).await
    }

    /// Everyone, for an admin.
    pub async fn everyone(&self) -> Arc<People> {
        match self.look().await {
            Known::People(people) => people,
            Known::Nobody | Known::Closed(_) => Arc::default(),
        }
    }

    /// Changes the users, and knows them when it returns.
    pub async fn change(
        &self,
        change: impl FnOnce(&PeopleDb) -> Result<(), PeopleError> + Send + 'static,
    ) -> Result<(), Problem> {
        let people = Arc::clone(&self.people);
        blocking(move || change(&people)).await?.map_err(Problem::from)?;
        self.look().await;
        Ok(())
    }

    /// Hashes a password of a user to be; one at a time, as logins are.
    pub async fn hash(&self, password: String) -> Result<String, Problem> {
        let turn = Arc::clone(&self.hashing).acquire_owned().await;
        let turn = turn.map_err(|_| Problem::unavailable("the server is stopping"))?;
        blocking(move || {
            let hash = secret::hash_password(&password);
            drop(turn);
            hash
        })
        .await
    }

    /// May the last user go?
    pub fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    fn attempt(&self, name: &str, address: IpAddr) -> Result<(), Refused> {
        let now = clock::monotonic();
        let mut by_user = self.by_user.lock().unwrap_or_else(PoisonError::into_inner);
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = by_user.wait(&name.to_owned(), now).max(by_address.wait(&address, now));
        if !wait.is_zero() {
            return Err(Refused::Wait(wait));
        }
        by_user.begin(name.to_owned(), now);
        by_address.begin(address, now);
        Ok(())
    }

    fn last(&self) -> Known {
        self.known.borrow().clone()
    }

    async fn look(&self) -> Known {
        self.look_within(LOOK_TIMEOUT).await
    }

    /// What is known of the users now; what was known last, where the disk does not say in time.
    async fn look_within(&self, timeout: Duration) -> Known {
        let look = async {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            let people = Arc::clone(&self.people);
            blocking(move || {
                let read = people.read();
                drop(turn);
                (read, people)
            })
            .await
        };
        let Ok(Ok((read, people))) = tokio::time::timeout(timeout, look).await else {
            return self.last();
        };
        let now = match read {
            Ok(Some(everyone)) if !everyone.users.is_empty() => Known::People(everyone),
            // Those who were here when it went see why.
            Ok(None) if matches!(self.last(), Known::People(_)) => self.last(),
            Ok(None) if people.had_users() => Known::Closed(format!(
                "the archive's state.db, which holds the users, is not there (mount the archive's disk; or, if it is \
                 to begin anew, remove {})",
                people.note().display()
            )),
            Ok(_) if self.is_loopback => Known::Nobody,
            Ok(_) => Known::Closed(
                "there are no users, and other machines reach this address (tarsier user add NAME)".to_owned(),
            ),
            Err(error) => match self.last() {
                Known::Closed(_) if self.is_loopback && !people.had_users() => Known::Nobody,
                Known::Closed(_) => Known::Closed(error.to_string()),
                last => last,
            },
        };
        self.known.send_if_modified(|last| {
            let is_same = match (&*last, &now) {
                (Known::Nobody, Known::Nobody) => true,
                (Known::People(old), Known::People(new)) => Arc::ptr_eq(old, new),
                (Known::Closed(old), Known::Closed(new)) => old == new,
                _ => false,
            };
            if !is_same {
                if let Known::Closed(why) = &now {
                    tracing::error!("nobody is let in: {why}");
                }
                *last = now.clone();
            }
            !is_same
        });
        now
    }

    /// Notes now and then that a login is in use. Nobody waits for it.
    fn note_use(&self, known: &Known, who: &Who) {
        let (Known::People(people), Some(digest)) = (known, who.session()) else { return };
        let now = clock::utc_now();
        if people.sessions.get(&digest).is_some_and(|session| now - session.used >= session::NOTED_EVERY) {
            let people = Arc::clone(&self.people);
            actix_web::rt::spawn(async move {
                if let Ok(Err(error)) = blocking(move || people.use_session(&digest, now)).await {
                    tracing::warn!(%error, "the use of a login cannot be noted");
                }
            });
        }
    }
}

/// The cookie that holds a login's secret.
pub fn cookie(secret: &str, is_secure: bool) -> String {
    with_age(secret, session::LONGEST, is_secure)
}

/// The cookie that takes a login's away.
pub fn no_cookie(is_secure: bool) -> String {
    with_age("", TimeDelta::zero(), is_secure)
}

/// Lax and not Strict: a link to a moment opens for whoever is logged in. Nothing changes by a GET.
fn with_age(value: &str, age: TimeDelta, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{COOKIE_NAME}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}", age.num_seconds())
}

/// What the request shows. A token goes first; what is neither opens nothing.
fn key(headers: &HeaderMap) -> Option<Key> {
    if let Some(authorization) = headers.get(AUTHORIZATION) {
        let (scheme, secret) = authorization.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| Key::Token(secret::digest(secret.trim())));
    }
    let cookies = headers.get_all(COOKIE).filter_map(|cookies| cookies.to_str().ok());
    let pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE_NAME).map(|(_, secret)| Key::Session(secret::digest(secret))).next()
}

/// Whose key it is.
fn of(people: &People, key: Key, now: DateTime<Utc>) -> Who {
    let who = |name: &String, role, cameras: &Cameras| Who {
        name: Some(name.clone()),
        role: Some(role),
        cameras: cameras.clone(),
        key,
    };
    let found = match key {
        Key::None => None,
        Key::Session(digest) => people
            .sessions
            .get(&digest)
            .filter(|session| session::holds(session.since, session.used, now))
            .and_then(|session| people.users.get(&session.user))
            .map(|user| who(&user.name, user.role, &user.cameras)),
        Key::Token(digest) => people
            .tokens
            .get(&digest)
            .filter(|token| token.expires.is_none_or(|end| now < end))
            .map(|token| who(&token.name, token.role, &token.cameras)),
    };
    found.unwrap_or_else(Who::nobody)
}

/// Who has one address of IPv6 has its whole block of 2^64.
fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn keys_are_read_from_headers() {
        let (session, token) = (Key::Session(secret::digest("s")), Key::Token(secret::digest("t")));
        for (pairs, found) in [
            (&[][..], None),
            (&[("cookie", "tarsier_session=s")], Some(session)),
            (&[("cookie", "a=b; tarsier_session=s; c=d")], Some(session)),
            (&[("cookie", "a=b"), ("cookie", "tarsier_session=s")], Some(session)),
            (&[("cookie", "xtarsier_session=s; tarsier_session")], None),
            (&[("authorization", "Bearer t")], Some(token)),
            (&[("authorization", "bearer  t ")], Some(token)),
            (&[("authorization", "Bearer t"), ("cookie", "tarsier_session=s")], Some(token)),
            (&[("authorization", "Basic dDp0"), ("cookie", "tarsier_session=s")], None),
            (&[("authorization", "Bearer")], None),
        ] {
            assert_eq!(key(&headers(pairs)), found, "{pairs:?}");
        }
    }

    #[test]
    fn addresses_of_one_block_are_one() {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(block(parse("2001:db8:1:2:3:4:5:6")), parse("2001:db8:1:2::"));
        assert_eq!(block(parse("::ffff:192.0.2.1")), parse("192.0.2.1"));
        assert_eq!(block(parse("192.0.2.1")), parse("192.0.2.1"));
    }

    #[test]
    fn the_cookie_is_for_the_server_alone() {
        let plain = cookie("abc", false);
        assert_eq!(plain, "tarsier_session=abc; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax");
        assert_eq!(cookie("abc", true), format!("{plain}; Secure"));
        assert!(no_cookie(false).starts_with("tarsier_session=; Path=/; Max-Age=0;"));
    }
}
