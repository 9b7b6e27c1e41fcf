//! How a file is shown to whoever asks for it.

use reqwest::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};

use super::{PNG, get, head, header, put, refusal, upload, urls};
use crate::{on_every_backend, support::JOHN};

on_every_backend! {
    /// To anybody, with all there is to know about it; `HEAD` says the same without the bytes.
    async fn a_picture_is_shown_to_anybody(server) {
        let url = upload(&server.log_in(JOHN).await, "a.png", "image/png", PNG).await;
        let (got, asked) = (crate::support::http().get(&url).send().await.unwrap(), head(&url).await);
        assert_eq!(asked.body, "");
        for headers in [got.headers().clone(), asked.headers.clone()] {
            assert_eq!(headers[CONTENT_TYPE], "image/png");
            assert_eq!(headers[CONTENT_LENGTH], PNG.len().to_string());
            assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert_eq!(headers.get(CONTENT_DISPOSITION), None);
            assert_eq!(headers.get(CONTENT_SECURITY_POLICY), None);
        }
        assert_eq!(got.bytes().await.unwrap(), PNG);
    }

    /// What it is said to be does not count.
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

    /// What browsers only play.
    async fn sound_films_and_documents_are_shown(server) {
        let john = server.log_in(JOHN).await;
        for (announced, content) in [
            ("image/gif", "GIF89a"),
            ("audio/ogg", "OggS"),
            ("application/pdf", "%PDF-1.7"),
        ] {
            let answer = get(&upload(&john, "a", announced, content.to_owned()).await).await;
            assert_eq!((header(&answer, CONTENT_TYPE), header(&answer, CONTENT_DISPOSITION)), (Some(announced), None), "{answer:?}");
        }
    }

    /// No file is found by guessing, none before it was put, and nothing else by this way.
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
