//! Tests of serving files to any client.

use reqwest::{
    Method,
    header::{
        ACCEPT_RANGES, ALLOW, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
        X_CONTENT_TYPE_OPTIONS,
    },
};

use super::{PNG, get, head, header, put, refusal, upload, urls};
use crate::{on_every_backend, support::JOHN};

on_every_backend! {
    /// Public picture with all headers; `HEAD` gives the same without the body.
    async fn a_picture_is_shown_to_anybody(server) {
        let url = upload(&server.log_in(JOHN).await, "a.png", "image/png", PNG).await;
        let (got, asked) = (crate::support::http().get(&url).send().await.unwrap(), head(&url).await);
        assert_eq!(asked.body, "");
        for headers in [got.headers().clone(), asked.headers.clone()] {
            assert_eq!(headers[CONTENT_TYPE], "image/png");
            assert_eq!(headers[CONTENT_LENGTH], PNG.len().to_string());
            assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert_eq!(headers.get(CONTENT_DISPOSITION), None);
            assert_eq!(headers[CONTENT_SECURITY_POLICY], "sandbox");
        }
        assert_eq!(got.bytes().await.unwrap(), PNG);
    }

    /// Range requests: video players need them.
    async fn a_part_of_a_file_is_shown(server) {
        let content = b"\x89PNG\r\n\x1a\n0123456789";
        let url = upload(&server.log_in(JOHN).await, "a.png", "image/png", content.to_vec()).await;
        let ask = async |method: Method, headers: &[(&str, &str)]| {
            let request = headers.iter().fold(crate::support::http().request(method, &url), |request, (name, value)| {
                request.header(*name, *value)
            });
            let response = request.send().await.unwrap();
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            (status, headers, response.bytes().await.unwrap())
        };
        for (range, bytes, place) in [
            ("bytes=0-3", &content[..4], "bytes 0-3/18"),
            ("bytes=0-1", &content[..2], "bytes 0-1/18"),
            ("bytes=8-", &content[8..], "bytes 8-17/18"),
            ("bytes=8-1000", &content[8..], "bytes 8-17/18"),
            ("bytes=-2", &content[16..], "bytes 16-17/18"),
        ] {
            let (status, headers, body) = ask(Method::GET, &[("Range", range)]).await;
            assert_eq!((status, &body[..]), (206, bytes), "{range}");
            assert_eq!(headers[CONTENT_RANGE], place);
            assert_eq!(headers[CONTENT_LENGTH], bytes.len().to_string());
            assert_eq!((&headers[CONTENT_TYPE], &headers[ACCEPT_RANGES]), (&"image/png".parse().unwrap(), &"bytes".parse().unwrap()));
        }
        let (status, headers, body) = ask(Method::GET, &[("Range", "bytes=18-")]).await;
        assert_eq!((status, headers[CONTENT_RANGE].to_str().unwrap()), (416, "bytes */18"));
        assert_eq!(body, r#"{"message":"The file has 18 bytes"}"#);
        for headers in [&[][..], &[("Range", "bytes=0-1,4-5")], &[("Range", "bytes=0-3"), ("If-Range", "\"a\"")]] {
            let (status, answered, body) = ask(Method::GET, headers).await;
            assert_eq!((status, &body[..]), (200, &content[..]), "{headers:?}");
            assert_eq!((answered.get(CONTENT_RANGE), &answered[ACCEPT_RANGES]), (None, &"bytes".parse().unwrap()));
        }
        let (status, headers, body) = ask(Method::HEAD, &[("Range", "bytes=0-3")]).await;
        assert_eq!((status, headers[CONTENT_LENGTH].to_str().unwrap(), body.len()), (200, "18", 0), "parts are for GET");
        assert_eq!(headers[ACCEPT_RANGES], "bytes");
    }

    /// Allowed methods: listed in the answer.
    async fn an_address_takes_put_and_get(server) {
        let url = upload(&server.log_in(JOHN).await, "a.png", "image/png", PNG).await;
        for (method, status) in [(Method::DELETE, 405), (Method::OPTIONS, 200)] {
            let answer = crate::support::Answer::of(crate::support::http().request(method.clone(), &url)).await;
            assert_eq!((answer.status.as_u16(), answer.headers[ALLOW].to_str().unwrap()), (status, "GET, HEAD, OPTIONS, PUT"));
        }
    }

    /// Active content: served as a download, whatever its announced type.
    async fn what_could_act_is_only_given_away(server) {
        let john = server.log_in(JOHN).await;
        let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
        let xml = format!("<?xml version=\"1.0\"?>{svg}");
        let page = "<!doctype html><script>alert(document.cookie)</script>";
        for (filename, announced, content) in [
            ("a.svg", "image/svg+xml", svg),
            ("a.svg", "image/svg+xml", xml.as_str()),
            ("a.png", "image/png", svg),
            ("a.html", "text/html", page),
            ("a.png", "image/png", page),
            ("a.pdf", "application/pdf", "no PDF"),
            ("a.js", "text/javascript", "alert(1)"),
            ("a.zip", "application/zip", "PK\u{3}\u{4}"),
            ("a.png", "image/png", ""),
        ] {
            let answer = get(&upload(&john, filename, announced, content.to_owned()).await).await;
            assert_eq!(answer.body, content);
            assert_eq!(header(&answer, CONTENT_DISPOSITION), Some("attachment"), "{filename}: {answer:?}");
            assert_eq!(header(&answer, CONTENT_SECURITY_POLICY), Some("sandbox"), "{filename}: {answer:?}");
            assert_eq!(header(&answer, X_CONTENT_TYPE_OPTIONS), Some("nosniff"), "{filename}: {answer:?}");
            let kind = header(&answer, CONTENT_TYPE).unwrap();
            assert!(!kind.starts_with("image/"), "{filename}: {answer:?}");
        }
    }

    /// Passive content, which browsers only play: inline. A PDF has no sandbox, in which Chrome and Safari would not show it.
    async fn sound_films_and_documents_are_shown(server) {
        let john = server.log_in(JOHN).await;
        for (announced, content, policy) in [
            ("image/gif", "GIF89a", "sandbox"),
            ("audio/ogg", "OggS", "sandbox"),
            ("application/pdf", "%PDF-1.7", "frame-ancestors *"),
        ] {
            let answer = get(&upload(&john, "a", announced, content.to_owned()).await).await;
            assert_eq!((header(&answer, CONTENT_TYPE), header(&answer, CONTENT_DISPOSITION)), (Some(announced), None), "{answer:?}");
            assert_eq!(header(&answer, CONTENT_SECURITY_POLICY), Some(policy), "{answer:?}");
        }
    }

    /// Unknown names, files that are not put yet, and other objects: not found.
    async fn what_is_not_there_is_not_found(server) {
        let john = server.log_in(JOHN).await;
        let urls = urls(&john, "a.png", "image/png").await;
        let nowhere = "/files/chat-images/d9bcf98b-063f-4286-ae70-8862dc7ebc1d.png";
        for url in [urls.get.clone(), urls.put.clone(), server.url(nowhere), server.url("/files/a%00/b%00"), server.url("/files/..%2f/x")] {
            assert_eq!(refusal(&get(&url).await), (404, "File not found".into()), "{url}");
        }
        assert_eq!(put(&urls.put, "image/png", PNG).await.status, 200);
        assert_eq!(get(&urls.put).await.status, 200, "the address for putting is that for reading, and more");
    }
}
