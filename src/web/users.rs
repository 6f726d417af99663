//! Users over HTTP, for admins, and who one is, for everyone.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Json;
use super::doors::Who;
use super::{AppState, Problem, blocking};
use crate::archive::state::people::{User, UserChange};
use crate::clock;
use crate::domain::access::{self, Cameras, Role};

/// Who asks.
#[derive(Serialize, ToSchema)]
pub struct Me {
    /// Their name, or the token's; null where there are no users and everything is open.
    user: Option<String>,
    role: Option<Role>,
    /// The cameras they may see; null: all.
    cameras: Option<Vec<String>>,
}

/// A user, without the password.
#[derive(Serialize, ToSchema)]
pub struct ListedUser {
    name: String,
    role: Role,
    /// The cameras they may see; null: all.
    cameras: Option<Vec<String>>,
    since: DateTime<Utc>,
}

/// All users.
#[derive(Serialize, ToSchema)]
pub struct UserList {
    users: Vec<ListedUser>,
}

/// A user to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    #[schema(pattern = "^[A-Za-z0-9._@-]{1,64}$")]
    name: String,
    #[schema(min_length = 8, max_length = 1024)]
    password: String,
    role: Role,
    /// The cameras they may see; null or left out: all.
    #[serde(default)]
    cameras: Option<Vec<String>>,
}

/// What changes of a user; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangedUser {
    /// Ends the user's other logins.
    #[serde(default)]
    #[schema(min_length = 8, max_length = 1024)]
    password: Option<String>,
    #[serde(default)]
    role: Option<Role>,
    /// The cameras they may see; null: all.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<String>>)]
    cameras: Option<Option<Vec<String>>>,
}

/// `null` is something else than nothing.
fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<Vec<String>>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// Who asks, and what they may see.
#[utoipa::path(get, path = "/api/me", tag = "users", responses(
    (status = 200, description = "who asks", body = Me),
))]
pub async fn me(who: Who) -> web::Json<Me> {
    web::Json(Me { user: who.name().map(str::to_owned), role: who.role(), cameras: who.cameras().list() })
}

/// All users.
#[utoipa::path(get, path = "/api/users", tag = "users", responses(
    (status = 200, description = "in the order of their names", body = UserList),
))]
pub async fn list(state: web::Data<AppState>) -> web::Json<UserList> {
    let people = state.doors.everyone().await;
    web::Json(UserList { users: people.users.values().map(listed).collect() })
}

/// Adds a user. The first has to be an admin; from then on everyone has to log in.
#[utoipa::path(post, path = "/api/users", tag = "users", request_body = NewUser, responses(
    (status = 201, description = "the user is there", body = ListedUser),
    (status = 400, description = "name, password or cameras are not possible"),
    (status = 409, description = "the name is taken, or the first user would be no admin"),
))]
pub async fn add(state: web::Data<AppState>, who: Who, Json(new): Json<NewUser>) -> Result<HttpResponse, Problem> {
    let NewUser { name, password, role, cameras } = new;
    let cameras = Cameras::from_list(cameras);
    check(&name, role, &cameras)?;
    let password = hashed(&state, password).await?;
    let user = User { name, role, cameras, password, since: clock::utc_now() };
    // Nothing is written where the archive's disk should be.
    let index = state.index.clone();
    blocking(move || index.home().check_place()).await?.map_err(|error| Problem::unavailable(error.to_string()))?;
    let added = user.clone();
    state.doors.change(move |people| people.add_user(&added)).await?;
    tracing::info!(user = user.name, role = role.name(), who = who.name(), "user added over HTTP");
    Ok(HttpResponse::Created().json(listed(&user)))
}

/// Changes a user's password, role or cameras.
#[utoipa::path(patch, path = "/api/users/{user}", tag = "users", request_body = ChangedUser, responses(
    (status = 200, description = "the user as it is now", body = ListedUser),
    (status = 400, description = "password or cameras are not possible"),
    (status = 404, description = "no such user"),
    (status = 409, description = "no admin would be left"),
))]
pub async fn change(
    state: web::Data<AppState>,
    who: Who,
    name: web::Path<String>,
    Json(changed): Json<ChangedUser>,
) -> Result<web::Json<ListedUser>, Problem> {
    let ChangedUser { password, role, cameras } = changed;
    let password = match password {
        // Whoever changes their own goes on.
        Some(password) => Some((hashed(&state, password).await?, who.session())),
        None => None,
    };
    let change = UserChange { role, cameras: cameras.map(Cameras::from_list), password };
    let of = name.clone();
    state.doors.change(move |people| people.change_user(&of, &change)).await?;
    tracing::info!(user = *name, who = who.name(), "user changed over HTTP");
    let people = state.doors.everyone().await;
    let user = people.users.get(&*name).ok_or_else(|| Problem::not_found("the user was removed just now"))?;
    Ok(web::Json(listed(user)))
}

/// Removes a user, and ends their logins.
#[utoipa::path(delete, path = "/api/users/{user}", tag = "users", responses(
    (status = 204, description = "removed"),
    (status = 404, description = "no such user"),
    (status = 409, description = "no admin would be left; or it is the last user and other machines reach the server"),
))]
pub async fn remove(state: web::Data<AppState>, who: Who, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let (of, may_be_last) = (name.clone(), state.doors.is_loopback());
    state.doors.change(move |people| people.remove_user(&of, may_be_last)).await?;
    tracing::info!(user = *name, who = who.name(), "user removed over HTTP");
    Ok(HttpResponse::NoContent().finish())
}

/// 400 for a name that nobody can have, and cameras that do not go with the role.
pub fn check(name: &str, role: Role, cameras: &Cameras) -> Result<(), Problem> {
    access::check_name(name).and_then(|()| access::check_scope(role, cameras)).map_err(bad)
}

async fn hashed(state: &AppState, password: String) -> Result<String, Problem> {
    access::check_password(&password).map_err(bad)?;
    state.doors.hash(password).await
}

fn listed(user: &User) -> ListedUser {
    ListedUser { name: user.name.clone(), role: user.role, cameras: user.cameras.list(), since: user.since }
}

/// A wish that is not possible, and why.
pub fn bad(why: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, why)
}
