//! What the document says of many operations alike, said once: parts of addresses, keys of queries, who may ask, and
//! how errors look.
//!
//! It is put in by the table of routes, so that no operation lacks it. What an operation says itself stays as it says it.

use actix_web::http::Method;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, KnownFormat, ObjectBuilder, OpenApi, Ref, RefOr, Required, Response, ResponseBuilder,
    Schema, SchemaFormat, Type,
};
use utoipa::{Modify, PartialSchema};

use super::super::doors::COOKIE_NAME;
use super::super::query::MAX_LIMIT;
use super::super::{problem, routes};
use crate::domain::access::{LONGEST_NAME, Right};

/// A camera's name as a regular expression.
const CAMERA: &str = "^[a-z0-9][a-z0-9_-]*$";

/// A part of an address: where it is, its name there, the name of its component, and what it is.
const PARTS: [(&str, &str, &str, &str); 5] = [
    ("/api/cameras/{name}", "name", "camera_name", "the stem of the camera's file"),
    ("/api/recordings/{id}", "id", "recording_id", "the recording's id"),
    ("/api/events/{id}", "id", "event_id", "the event's id"),
    ("/api/users/{user}", "user", "user_name", "the user's name"),
    ("/api/tokens/{token}", "token", "token_name", "the token's name"),
];

/// Keys that mean the same wherever the table of routes has them.
const KEYS: [(&str, &str); 5] = [
    ("camera", "of this camera only"),
    ("from", "RFC 3339; what ends before is left out"),
    ("to", "RFC 3339; what starts after is left out"),
    ("limit", "rows a page; 100 without it"),
    ("cursor", "`next` of the page before"),
];

/// Refusals that come before the operation itself: name of the component, status, why.
const REFUSALS: [(&str, &str, &str); 5] = [
    ("bad_query", "400", "a query key is unknown, doubled or not possible"),
    ("not_logged_in", "401", "not logged in"),
    ("no_admin", "403", "no admin; or asked for by a foreign page, or by a name that is not this server's"),
    ("foreign", "403", "asked for by a foreign page, or by a name that is not this server's"),
    ("foreign_name", "403", "asked for by a name that is not this server's"),
];

/// The same of those that take a body.
const BODY_REFUSALS: [(&str, &str, &str); 4] = [
    ("bad_body", "400", "the body is not as described here, or a query key is unknown"),
    ("slow_body", "408", "the body did not come in time"),
    ("large_body", "413", "the body is too large"),
    ("other_body", "415", "the body is of another media type"),
];

/// Puts all of it in.
pub struct Shared;

impl Modify for Shared {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        let session = ApiKey::Cookie(ApiKeyValue::with_description(COOKIE_NAME, "of POST /api/login"));
        let token = Http::builder().scheme(HttpAuthScheme::Bearer).description(Some("of `tarsier token add NAME`"));
        components.add_security_scheme("session", SecurityScheme::ApiKey(session));
        components.add_security_scheme("token", SecurityScheme::Http(token.build()));
        add_parameters(components);
        for (name, _, why) in REFUSALS.into_iter().chain(BODY_REFUSALS) {
            components
                .responses
                .insert(name.to_owned(), of_problem(ResponseBuilder::new().description(why).build()).into());
        }
        for (path, item) in &mut document.paths.paths {
            let methods = [
                (Method::GET, &mut item.get),
                (Method::POST, &mut item.post),
                (Method::PATCH, &mut item.patch),
                (Method::PUT, &mut item.put),
                (Method::DELETE, &mut item.delete),
            ];
            for (method, operation) in methods {
                let Some(operation) = operation else { continue };
                operation.operation_id = Some(id_of(&method, path));
                describe_errors(operation);
                refer_to_parameters(operation, path, &method);
                refer_to_refusals(operation, path, &method);
            }
        }
    }
}

/// A name that no other operation has: those of the handlers' functions repeat.
fn id_of(method: &Method, path: &str) -> String {
    let path = path.strip_prefix("/api/").unwrap_or(path);
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    [method.as_str().to_ascii_lowercase().as_str()].into_iter().chain(words).collect::<Vec<_>>().join("_")
}

fn add_parameters(components: &mut Components) {
    let mut add = |component: &str, parameter: Parameter| {
        components.parameters.insert(component.to_owned(), parameter.into());
    };
    for (_, name, component, what) in PARTS {
        let schema = match name {
            "id" => i64::schema(),
            "name" => text(ObjectBuilder::new().pattern(Some(CAMERA))),
            _ => text(ObjectBuilder::new().min_length(Some(1)).max_length(Some(LONGEST_NAME))),
        };
        add(component, parameter(name, ParameterIn::Path, Required::True, what, schema));
    }
    for (name, what) in KEYS {
        let schema = match name {
            "camera" => text(ObjectBuilder::new().pattern(Some(CAMERA))),
            "from" | "to" => text(ObjectBuilder::new().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))),
            "limit" => ObjectBuilder::new()
                .schema_type(SchemaType::Type(Type::Integer))
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
                .minimum(Some(1))
                .maximum(Some(MAX_LIMIT))
                .build()
                .into(),
            _ => text(ObjectBuilder::new().min_length(Some(1))),
        };
        add(name, parameter(name, ParameterIn::Query, Required::False, what, schema));
    }
}

fn text(of: ObjectBuilder) -> RefOr<Schema> {
    of.schema_type(SchemaType::Type(Type::String)).build().into()
}

fn parameter(name: &str, lies: ParameterIn, required: Required, what: &str, schema: RefOr<Schema>) -> Parameter {
    let parameter = ParameterBuilder::new().name(name).parameter_in(lies).required(required);
    parameter.description(Some(what)).schema(Some(schema)).build()
}

/// The parts of the address and the keys that the table of routes gives it.
fn refer_to_parameters(operation: &mut Operation, path: &str, method: &Method) {
    let own = operation.parameters.get_or_insert_default();
    let is_own = |key: &str| own.iter().any(|own| matches!(own, RefOr::T(own) if own.name == key));
    let keys = routes::find(path, method).map_or(&[][..], |route| route.keys);
    let keys = keys.iter().copied().filter(|key| !is_own(key) && KEYS.iter().any(|(known, _)| known == key));
    let part = PARTS.iter().filter(|(of, ..)| path.starts_with(of)).map(|(_, _, component, _)| *component);
    let referred =
        part.chain(keys).map(|component| RefOr::Ref(Ref::new(format!("#/components/parameters/{component}"))));
    let mut all: Vec<RefOr<Parameter>> = referred.collect();
    all.append(own);
    *own = all;
}

/// An error without a body of its own is a problem, and all are of the media type of problems.
fn describe_errors(operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        if status.starts_with(['4', '5']) && response.content.is_empty() {
            *response = of_problem(std::mem::take(response));
        }
    }
}

fn of_problem(mut response: Response) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    response.content.insert(problem::MEDIA_TYPE.to_owned(), content.into());
    response
}

/// Who may ask, and how the others and bad requests are refused.
fn refer_to_refusals(operation: &mut Operation, path: &str, method: &Method) {
    let right = routes::right(Some(path), method);
    let takes_body = operation.request_body.is_some();
    let mut refused = |component: &str| {
        let known = REFUSALS.into_iter().chain(BODY_REFUSALS).find(|(name, ..)| *name == component);
        let Some((name, status, _)) = known else { return };
        let response = RefOr::Ref(Ref::from_response_name(name));
        operation.responses.responses.entry(status.to_owned()).or_insert(response);
    };
    if takes_body {
        BODY_REFUSALS.iter().for_each(|(name, ..)| refused(name));
    }
    refused("bad_query");
    refused(match (right, method == Method::GET) {
        (Right::Admin, _) => "no_admin",
        (_, false) => "foreign",
        (_, true) => "foreign_name",
    });
    if right != Right::Open {
        refused("not_logged_in");
        let either = ["session", "token"].map(|name| SecurityRequirement::new(name, [""; 0]));
        operation.security = Some(either.into());
    }
}
