//! The page of users and tokens, for admins: who may come in. What its forms do is `www/users.js`'s.

use std::fmt::Write;

use super::html::{Text, Time};
use super::tables::head;
use crate::clock;
use crate::domain::access::{Cameras, Right, Role};
use crate::web::AppState;
use crate::web::doors::Who;

/// Users and tokens as tables, or what it means that there are none.
pub async fn tables(state: &AppState, who: &Who) -> String {
    let people = state.doors.everyone().await;
    if people.users.is_empty() {
        return NOBODY.to_owned();
    }
    let mut out = head("Users", &["User", "Role", "Cameras", "Since", ""]);
    for user in people.users.values() {
        let name = Text(&user.name);
        let own = if who.name() == Some(&user.name) { " <span class=\"muted\">(you)</span>" } else { "" };
        let _ = writeln!(
            out,
            "<tr data-user=\"{name}\"{}><th scope=\"row\">{name}{own}</th>{}<td>{}</td><td class=\"row-tools\">\
             <button type=\"button\" class=\"button\" data-do=\"change\">Change</button>\
             <button type=\"button\" class=\"button\" data-do=\"password\">New password</button>\
             <button type=\"button\" class=\"button danger\" data-do=\"remove\">Remove</button></td></tr>",
            data(user.role, &user.cameras),
            cells(user.role, &user.cameras),
            Time(user.since),
        );
    }
    out.push_str(
        "</tbody></table></div>\n<h2>Tokens</h2>\n<p>Programs come in with them: \
                  <code>Authorization: Bearer TOKEN</code>.</p>\n",
    );
    if people.tokens.is_empty() {
        out.push_str("<p>No tokens.</p>\n");
        return out;
    }
    out.push_str(&head("Tokens", &["Token", "Role", "Cameras", "Since", "Until", ""]));
    let now = clock::utc_now();
    for token in people.tokens_by_name() {
        let name = Text(&token.name);
        let until = match token.expires {
            None => "it is removed".to_owned(),
            Some(end) if end <= now => format!("<span class=\"error\">over since</span> {}", Time(end)),
            Some(end) => Time(end).to_string(),
        };
        let _ = writeln!(
            out,
            "<tr data-token=\"{name}\"><th scope=\"row\">{name}</th>{}<td>{}</td><td>{until}</td>\
             <td class=\"row-tools\"><button type=\"button\" class=\"button danger\" data-do=\"remove\">Remove</button></td></tr>",
            cells(token.role, &token.cameras),
            Time(token.since),
        );
    }
    out + "</tbody></table></div>\n"
}

const NOBODY: &str = "<p id=\"nobody\">There are no users: whoever reaches this address sees and changes everything. \
                      Add yourself as an admin; from then on everyone has to log in.</p>\n";

fn cells(role: Role, cameras: &Cameras) -> String {
    let cameras = cameras.list().map_or("all".to_owned(), |names| names.join(", "));
    format!("<td>{}</td><td>{}</td>", role.name(), Text(&cameras))
}

/// The same for the script; no `data-cameras`: all.
fn data(role: Role, cameras: &Cameras) -> String {
    let cameras = cameras.list().map(|names| format!(" data-cameras=\"{}\"", Text(&names.join(" "))));
    format!(" data-role=\"{}\"{}", role.name(), cameras.unwrap_or_default())
}

/// The way to this page, for whom it is.
pub fn link(who: &Who) -> &'static str {
    match Right::Admin.is_held_by(who.role()) {
        true => "<h2>Users</h2>\n<p><a href=\"/users\">Who may come in</a>: users, and tokens for programs.</p>\n",
        false => "",
    }
}
