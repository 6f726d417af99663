//! Tokens over HTTP, for admins: how programs come in.

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Json;
use super::doors::Who;
use super::{AppState, Problem, secret, users};
use crate::archive::state::people::Token;
use crate::clock;
use crate::domain::access::{Cameras, Role};

/// A token, without its secret.
#[derive(Serialize, ToSchema)]
pub struct ListedToken {
    name: String,
    role: Role,
    /// The cameras it may see; null: all.
    cameras: Option<Vec<String>>,
    since: DateTime<Utc>,
    /// Null: it holds until it is removed.
    expires: Option<DateTime<Utc>>,
}

/// All tokens.
#[derive(Serialize, ToSchema)]
pub struct TokenList {
    tokens: Vec<ListedToken>,
}

/// A token to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    #[schema(pattern = "^[A-Za-z0-9._@-]{1,64}$")]
    name: String,
    role: Role,
    /// The cameras it may see; null or left out: all.
    #[serde(default)]
    cameras: Option<Vec<String>>,
    /// When it ends; null or left out: it holds until it is removed.
    #[serde(default)]
    expires: Option<DateTime<Utc>>,
}

/// A new token with its secret, which is told only now.
#[derive(Serialize, ToSchema)]
pub struct AddedToken {
    #[serde(flatten)]
    token: ListedToken,
    /// For the header `Authorization: Bearer SECRET`.
    secret: String,
}

/// All tokens, without their secrets.
#[utoipa::path(get, path = "/api/tokens", tag = "users", responses(
    (status = 200, description = "in the order of their names", body = TokenList),
))]
pub async fn list(state: web::Data<AppState>) -> web::Json<TokenList> {
    let people = state.doors.everyone().await;
    web::Json(TokenList { tokens: people.tokens_by_name().into_iter().map(listed).collect() })
}

/// Adds a token, and tells its secret once.
#[utoipa::path(post, path = "/api/tokens", tag = "users", request_body = NewToken, responses(
    (status = 201, description = "the token is there", body = AddedToken),
    (status = 400, description = "name, cameras or end are not possible"),
    (status = 404, description = "there are no users, and everything is open"),
    (status = 409, description = "the name is taken"),
))]
pub async fn add(state: web::Data<AppState>, who: Who, Json(new): Json<NewToken>) -> Result<HttpResponse, Problem> {
    let NewToken { name, role, cameras, expires } = new;
    let (cameras, since) = (Cameras::from_list(cameras), clock::utc_now());
    users::check(&name, role, &cameras)?;
    if expires.is_some_and(|end| end <= since) {
        return Err(users::bad("`expires` is over already (leave it out for a token without an end)".to_owned()));
    }
    let secret = secret::random_token();
    let token = Token { name, role, cameras, since, expires };
    let (digest, added) = (secret::digest(&secret), token.clone());
    state.doors.change(move |people| people.add_token(&digest, &added)).await?;
    tracing::info!(token = token.name, role = role.name(), who = who.name(), "token added over HTTP");
    Ok(HttpResponse::Created().json(AddedToken { token: listed(&token), secret }))
}

/// Removes a token: it opens nothing from now on.
#[utoipa::path(delete, path = "/api/tokens/{token}", tag = "users", responses(
    (status = 204, description = "removed"),
    (status = 404, description = "no such token"),
))]
pub async fn remove(state: web::Data<AppState>, who: Who, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let of = name.clone();
    state.doors.change(move |people| people.remove_token(&of)).await?;
    tracing::info!(token = *name, who = who.name(), "token removed over HTTP");
    Ok(HttpResponse::NoContent().finish())
}

fn listed(token: &Token) -> ListedToken {
    let Token { name, role, cameras, since, expires } = token.clone();
    ListedToken { name, role, cameras: cameras.list(), since, expires }
}
