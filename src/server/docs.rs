//! Swagger UI page of the OpenAPI document, with a content security policy that allows only its own scripts.

use base64::{Engine, engine::general_purpose::STANDARD};
use poem::{
    Endpoint, Response,
    endpoint::make_sync,
    http::{HeaderValue, header},
};
use sha2::{Digest, Sha256};

use crate::web::jsonrpc::HTML;

/// Serves the page.
pub(super) fn page(html: String) -> impl Endpoint {
    // Line ends as browsers normalise them before they hash a script.
    let html = html.replace("\r\n", "\n");
    let policy = HeaderValue::try_from(policy(&html)).expect("base64 is ASCII");
    make_sync(move |_| {
        Response::builder()
            .header(header::CONTENT_TYPE, HTML)
            .header(header::CONTENT_SECURITY_POLICY, policy.clone())
            .body(html.clone())
    })
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
