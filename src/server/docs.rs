//! OpenAPI document, and its Swagger UI page with a content security policy that allows only its own scripts.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use poem::{
    Endpoint, Response,
    endpoint::make_sync,
    http::{HeaderValue, header},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use sha2::{Digest, Sha256};

use super::admission::SharedText;
use crate::web::jsonrpc::HTML;

/// Sections in the order of a first visit.
const SECTIONS: [&str; 7] = ["odoo", "messaging", "im_chat", "room", "tokens", "uploads", "Operation"];
/// Title of the page in poem-openapi.
const FOREIGN_TITLE: &str = "<title>Swagger UI</title>";
/// Title and favicon of the page: a speech bubble.
const TITLE: &str = "<title>Dragoman</title><link rel=\"icon\" href=\"data:image/svg+xml,\
    <svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><path fill='teal' d='M1 2h14v9H8l-4 4v-4H1z'/></svg>\">";

/// OpenAPI document whose sections can be sorted.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct OpenApiDocument<'a> {
    openapi: &'a str,
    #[serde(borrow)]
    info: &'a RawValue,
    servers: &'a RawValue,
    tags: Vec<Value>,
    paths: &'a RawValue,
    components: &'a RawValue,
}

/// The OpenAPI document `spec` with its sections in order; poem-openapi sorts them by name.
pub(super) fn document(spec: &str) -> String {
    let mut document: OpenApiDocument = serde_json::from_str(spec).expect("poem-openapi writes these members");
    document.tags.sort_by_key(|tag| SECTIONS.iter().position(|section| tag["name"] == *section));
    serde_json::to_string_pretty(&document).expect("parsed JSON serializes")
}

/// Serves the page, with a title and a favicon of its own.
pub(super) fn page(html: &str) -> impl Endpoint + use<> {
    // Line ends as browsers normalise them before they hash a script.
    let html = html.replacen(FOREIGN_TITLE, TITLE, 1).replace("\r\n", "\n");
    let policy = HeaderValue::try_from(policy(&html)).expect("base64 is ASCII");
    let html = Bytes::from(html);
    make_sync(move |_| {
        Response::builder()
            .header(header::CONTENT_TYPE, HTML)
            .header(header::CONTENT_SECURITY_POLICY, policy.clone())
            .extension(SharedText)
            .body(html.clone())
    })
}

/// Serves a text from one copy for all requests.
pub(super) fn shared(content_type: &'static str, text: String) -> impl Endpoint<Output = Response> + use<> {
    let text = Bytes::from(text);
    make_sync(move |_| Response::builder().content_type(content_type).extension(SharedText).body(text.clone()))
}

fn policy(html: &str) -> String {
    let hashes = scripts(html).map(|script| format!(" 'sha256-{}'", STANDARD.encode(Sha256::digest(script))));
    format!(
        "default-src 'none'; script-src{}; style-src 'unsafe-inline'; img-src 'self' blob: data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hashes.collect::<String>()
    )
}

/// Inline scripts of a page.
fn scripts(html: &str) -> impl Iterator<Item = &str> {
    let mut rest = html;
    std::iter::from_fn(move || {
        let (_, tag) = rest.split_once("<script")?;
        let (_, script) = tag.split_once('>')?;
        let (script, after) = script.split_once("</script")?;
        rest = after;
        Some(script)
    })
}

#[cfg(test)]
mod tests {
    use super::{policy, scripts};

    #[test]
    fn each_script_is_allowed_by_its_hash() {
        let page = "<script charset=\"UTF-8\">alert('<script')</script ><p>alert()</p><script>\nlet a;\n</script>";
        assert_eq!(scripts(page).collect::<Vec<_>>(), ["alert('<script')", "\nlet a;\n"]);
        // Hash from `openssl dgst -sha256 -binary | base64`.
        let policy = policy("<script>doSomething();</script>");
        assert!(policy.contains("script-src 'sha256-RFWPLDbv2BY+rCkDzsE+0fr8ylGr2R2faWMhq4lfEQc=';"), "{policy}");
    }
}
