//! Tests of multipart forms with files, byte for byte as HTTP clients of other languages write them.

use reqwest::{Method, multipart};
use serde_json::{Value, json};

use crate::support::{Answer, Backend, Client, JOHN, Server, Socket, http, token};

const UID_OF_JOHN: i64 = 4;
/// Uid of the demo data's tenant of the support chat.
const TENANT: i64 = 34;
const UUID_OF_ADMIN: &str = "75140d72-8b20-4549-885c-20599badb486";
/// First bytes of a ZIP archive with one empty file. The file's name reveals no document type.
const ZIP: &[u8] = b"PK\x03\x04\x0a\0\0\0\0\0\0\0!\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0aPK\x01\x02";
/// First bytes of a Compound File Binary (Microsoft's old Office formats).
const COMPOUND: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x3e\0\x03\0\xfe\xff\x09\0";

/// A form in one client's notation: the boundary as in `Content-Type`, and the body, with `FIELD` for the name of the file's
/// field.
struct Written {
    client: &'static str,
    boundary: &'static str,
    body: &'static [u8],
    filename: &'static str,
}

const WRITTEN: &[Written] = &[
    Written {
        client: "HttpClient of .NET, MultipartFormDataContent.Add with a file name",
        boundary: "\"b0a14f34-4b3a-4b77-9c0e-5b7f5c4d8f10\"",
        body: b"--b0a14f34-4b3a-4b77-9c0e-5b7f5c4d8f10\r\n\
                Content-Type: text/plain\r\n\
                Content-Disposition: form-data; name=FIELD; filename=\"=?utf-8?B?5paw5bu6LnR4dA==?=\"; \
                filename*=utf-8''%E6%96%B0%E5%BB%BA.txt\r\n\r\n\
                hello\r\n\
                --b0a14f34-4b3a-4b77-9c0e-5b7f5c4d8f10--\r\n",
        filename: "新建.txt",
    },
    Written {
        client: "HttpClient of .NET, ContentDispositionHeaderValue with FileName alone",
        boundary: "\"b0a14f34\"",
        body: b"--b0a14f34\r\n\
                Content-Disposition: form-data; name=\"FIELD\"; filename=\"=?utf-8?B?5paw5bu6LnR4dA==?=\"\r\n\r\n\
                hello\r\n\
                --b0a14f34--\r\n",
        filename: "新建.txt",
    },
    Written {
        client: "React Native on Android",
        boundary: "a7f2c9d1-3c41-4a6c-8d0d-3c9b7e6f1a22",
        body: b"--a7f2c9d1-3c41-4a6c-8d0d-3c9b7e6f1a22\r\n\
                content-disposition: form-data; name=\"FIELD\"; filename=\".txt\"; filename*=utf-8''%E6%96%B0%E5%BB%BA.txt\r\n\
                Content-Type: text/plain\r\n\
                Content-Length: 5\r\n\r\n\
                hello\r\n\
                --a7f2c9d1-3c41-4a6c-8d0d-3c9b7e6f1a22--\r\n",
        filename: "新建.txt",
    },
    Written {
        client: "React Native on iOS",
        boundary: "D1oq7FsVbTx3yQ0yXr8mWb0",
        body: b"--D1oq7FsVbTx3yQ0yXr8mWb0\r\n\
                content-disposition: form-data; name=\"FIELD\"; filename=\"IMG_0001.txt\"; filename*=utf-8''IMG_0001.txt\r\n\
                content-type: text/plain\r\n\r\n\
                hello\r\n\
                --D1oq7FsVbTx3yQ0yXr8mWb0--\r\n",
        filename: "IMG_0001.txt",
    },
    Written {
        client: "aiohttp",
        boundary: "4f0a7e0f3dc24e0bbf7d6f6b1f2f6d3c",
        body: b"--4f0a7e0f3dc24e0bbf7d6f6b1f2f6d3c\r\n\
                Content-Type: text/plain\r\n\
                Content-Disposition: form-data; name=\"FIELD\"; filename=\"na%C3%AFve%20caf%C3%A9.txt\"\r\n\r\n\
                hello\r\n\
                --4f0a7e0f3dc24e0bbf7d6f6b1f2f6d3c--\r\n",
        filename: "naïve café.txt",
    },
    Written {
        client: "aiohttp before 3.8",
        boundary: "4f0a7e0f3dc24e0bbf7d6f6b1f2f6d3c",
        body: b"--4f0a7e0f3dc24e0bbf7d6f6b1f2f6d3c\r\n\
                Content-Type: text/plain\r\n\
                Content-Disposition: form-data; name=\"FIELD\"; filename=\"na%C3%AFve.txt\"; filename*=utf-8''na%C3%AFve.txt\r\n\r\n\
                hello\r\n\
                --4f0a7e0f3dc24e0bbf7d6f6b1f2f6d3c--\r\n",
        filename: "naïve.txt",
    },
    Written {
        client: "requests with urllib3 1.24",
        boundary: "c5f9b0f0f1e84d0f8c8f2b3a6d7e9a01",
        body: b"--c5f9b0f0f1e84d0f8c8f2b3a6d7e9a01\r\n\
                Content-Disposition: form-data; name=\"FIELD\"; filename*=utf-8''na%C3%AFve%20caf%C3%A9.txt\r\n\r\n\
                hello\r\n\
                --c5f9b0f0f1e84d0f8c8f2b3a6d7e9a01--\r\n",
        filename: "naïve café.txt",
    },
    Written {
        client: "curl on Windows, and Java's Apache HttpClient in its strict mode",
        boundary: "------------------------d74496d66958873e",
        body: b"--------------------------d74496d66958873e\r\n\
                Content-Disposition: form-data; name=\"FIELD\"; filename=\"M\xfcller.txt\"\r\n\
                Content-Type: text/plain\r\n\r\n\
                hello\r\n\
                --------------------------d74496d66958873e--\r\n",
        filename: "Müller.txt",
    },
    Written {
        client: "JavaMail, with a boundary that lacks its quotes",
        boundary: "----=_Part_1_1234.5678",
        body: b"------=_Part_1_1234.5678\r\n\
                Content-Type: text/plain; name=\"a.txt\"\r\n\
                Content-Transfer-Encoding: 7bit\r\n\
                Content-Disposition: form-data; name=\"FIELD\"; filename=\"a.txt\"\r\n\r\n\
                hello\r\n\
                ------=_Part_1_1234.5678--\r\n",
        filename: "a.txt",
    },
    Written {
        client: "Chromium",
        boundary: "----WebKitFormBoundary7MA4YWxkTrZu0gW",
        body: b"------WebKitFormBoundary7MA4YWxkTrZu0gW\r\n\
                Content-Disposition: form-data; name=\"FIELD\"; filename=\"na\xc3\xafve %22caf\xc3\xa9%22.txt\"\r\n\
                Content-Type: text/plain\r\n\r\n\
                hello\r\n\
                ------WebKitFormBoundary7MA4YWxkTrZu0gW--\r\n",
        filename: "naïve \"café\".txt",
    },
    Written {
        client: "Go",
        boundary: "6f1a0b",
        body: b"--6f1a0b\r\n\
                Content-Disposition: form-data; name=\"FIELD\"; filename=\"a \\\"b\\\".txt\"\r\n\
                Content-Type: application/octet-stream\r\n\r\n\
                hello\r\n\
                --6f1a0b--\r\n",
        filename: "a \"b\".txt",
    },
];

fn replaced(body: &[u8], name: &str) -> Vec<u8> {
    let at = body.windows(5).position(|part| part == b"FIELD").expect("the field is named");
    [&body[..at], name.as_bytes(), &body[at + 5..]].concat()
}

/// Dialects with multipart routes.
#[derive(Clone, Copy, Debug)]
enum Dialect {
    Messaging,
    Room,
}

impl Dialect {
    const ALL: [Self; 2] = [Self::Messaging, Self::Room];

    fn field(self) -> &'static str {
        match self {
            Self::Messaging => "file",
            Self::Room => "attached_file",
        }
    }

    async fn post(self, client: &Client, content_type: &str, body: Vec<u8>) -> Answer {
        let path = match self {
            Self::Messaging => "/api/messaging/attachment/upload",
            Self::Room => "/chat/attachment/",
        };
        let request = client.request(Method::POST, path).bearer_auth(token(UID_OF_JOHN));
        Answer::of(request.header("Content-Type", content_type).body(body)).await
    }

    /// Posts parts with the boundary `b`; in `room` the receiver comes first.
    async fn post_parts(self, client: &Client, parts: &[&[u8]]) -> Answer {
        let receiver = format!("Content-Disposition: form-data; name=\"receiver\"\r\n\r\n{UUID_OF_ADMIN}");
        let receiver = matches!(self, Self::Room).then_some(receiver.as_bytes());
        let parts = receiver.into_iter().chain(parts.iter().copied());
        let mut body: Vec<u8> = parts.flat_map(|part| [&b"--b\r\n"[..], part, b"\r\n"].concat()).collect();
        body.extend_from_slice(b"--b--\r\n");
        self.post(client, "multipart/form-data; boundary=b", body).await
    }

    /// The file's name in an answer.
    fn name(self, answer: &Answer) -> Value {
        match self {
            Self::Messaging => answer.json()["name"].take(),
            Self::Room => answer.json()["entity"]["message"]["attached_file_name"].take(),
        }
    }

    /// The message of a refusal.
    fn refusal(self, answer: &Answer) -> Value {
        match self {
            Self::Messaging => answer.json()["error"].take(),
            Self::Room => answer.json()["message"].take(),
        }
    }
}

/// Part of a form with a file, with this end of its `Content-Disposition`.
fn file(dialect: Dialect, disposition: &str, kind: &str, content: &[u8]) -> Vec<u8> {
    let name = dialect.field();
    let head = format!("Content-Disposition: form-data; name=\"{name}\"; {disposition}\r\nContent-Type: {kind}\r\n\r\n");
    [head.as_bytes(), content].concat()
}

#[tokio::test]
async fn forms_are_read_as_clients_write_them() {
    let mut server = Server::with_tokens(Backend::memory()).await;
    let john = server.log_in(JOHN).await;
    for Written { client, boundary, body, filename } in WRITTEN {
        for dialect in Dialect::ALL {
            let body = replaced(body, dialect.field());
            let line = &body[..body.windows(2).position(|end| end == b"\r\n").unwrap()];
            // Browsers send the receiver before the file.
            let receiver =
                [line, b"\r\nContent-Disposition: form-data; name=receiver\r\n\r\n", UUID_OF_ADMIN.as_bytes(), b"\r\n"];
            let body = [receiver.concat(), body].concat();
            let answer = dialect.post(&john, &format!("multipart/form-data; boundary={boundary}"), body).await;
            assert!(answer.status.is_success(), "{client}, {dialect:?}: {answer:?}");
            assert_eq!(dialect.name(&answer), *filename, "{client}, {dialect:?}");
        }
    }
    server.stop().await;
}

/// Charset of texts: UTF-8, else Latin-1. The separate field for the file's name may have a charset of its own.
#[tokio::test]
async fn a_text_in_no_utf_8_is_in_latin_1() {
    let mut server = Server::with_tokens(Backend::memory()).await;
    let john = server.log_in(JOHN).await;
    for (dialect, field) in [(Dialect::Messaging, "name"), (Dialect::Room, "attached_file_name")] {
        for (kind, text) in [
            ("", &b"M\xfcller.txt"[..]),
            ("", "Müller.txt".as_bytes()),
            ("\r\nContent-Type: text/plain; charset=iso-8859-1", &b"M\xfcller.txt"[..]),
            ("\r\nContent-Type: text/plain; charset=utf-8", "Müller.txt".as_bytes()),
        ] {
            let head = format!("Content-Disposition: form-data; name=\"{field}\"{kind}\r\n\r\n");
            let parts = [file(dialect, "filename=\"a.txt\"", "text/plain", b"x"), [head.as_bytes(), text].concat()];
            let answer = dialect.post_parts(&john, &[&parts[0], &parts[1]]).await;
            assert_eq!(dialect.name(&answer), "Müller.txt", "{answer:?}");
        }
    }
    server.stop().await;
}

/// Bidirectional control characters: one of them makes `gpj.exe` look like `exe.jpg`. They are stripped from a file's name in
/// every notation.
#[tokio::test]
async fn characters_that_turn_the_reading_direction_leave_names() {
    let mut server = Server::with_tokens(Backend::memory()).await;
    let john = server.log_in(JOHN).await;
    let controls = ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}').chain(['\u{200e}', '\u{200f}', '\u{61c}']);
    for control in controls {
        let name = format!("photo_{control}gpj.exe");
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for dialect in Dialect::ALL {
            for disposition in [format!("filename=\"{name}\""), format!("filename*=utf-8''{encoded}")] {
                let answer = dialect.post_parts(&john, &[&file(dialect, &disposition, "image/jpeg", b"MZ")]).await;
                assert_eq!(dialect.name(&answer), "photo_gpj.exe", "{control:?}");
            }
        }
        for (dialect, field) in [(Dialect::Messaging, "name"), (Dialect::Room, "attached_file_name")] {
            let named = format!("Content-Disposition: form-data; name=\"{field}\"\r\n\r\n{name}");
            let parts = [file(dialect, "filename=\"a.exe\"", "image/jpeg", b"MZ"), named.into_bytes()];
            assert_eq!(dialect.name(&dialect.post_parts(&john, &[&parts[0], &parts[1]]).await), "photo_gpj.exe", "{control:?}");
        }
        let wish = json!({"filename": name, "mimeType": "image/jpeg", "type": "chat-images"});
        let answer = john.post("/file-new/get-upload-url", &wish).await.json();
        assert_eq!(answer["data"]["uploadUrlData"]["fileName"], "photo_gpj.exe", "{control:?}");
        let session = john.result("/im_chat/api/get_or_create_session", json!({"user_to": 2})).await["uuid"].take();
        let content = json!({"url": "https://a.example/x", "name": name}).to_string();
        let post = json!({"uuid": session, "message_type": "money4_chat_attach_msg", "message_content": content});
        john.result("/im_chat/post", post).await;
        let messages = john.result("/im_chat/history", json!({"uuid": session})).await.to_string();
        assert!(messages.contains("photo_gpj.exe") && !messages.contains(control), "{messages}");
    }
    // Clients of `concierge` keep the file's name in the message's metadata.
    let mut tenant = Socket::open(server.socket_url(&format!("/concierge?Auth={}&deviceId=phone", token(TENANT)))).await;
    let ask = async |socket: &mut Socket, route: &str, body: Value| {
        socket.say(json!({"action": "api", "data": {"route": route, "body": body}})).await;
        socket.hear_until(|told| told["channel"] == route).await["body"].take()
    };
    let session = ask(&mut tenant, "client/init-chat-with-concierge", json!({"newSession": true})).await["chatSessionId"].take();
    let name = "photo_\u{202e}gpj.exe";
    let metadata = json!({
        "filename": name, "file": {"name": name}, "file_name": name, "originalFilename": name, "display_name": name, "caption": name
    });
    let said =
        json!({"chatSessionId": session, "contentType": "IMAGE", "messageContent": "https://a.example/x", "metadata": metadata});
    let sent = ask(&mut tenant, "client/send-message", said).await;
    let plain = "photo_gpj.exe";
    let expected = json!({
        "filename": plain, "file": {"name": plain}, "file_name": plain, "originalFilename": plain, "display_name": plain, "caption": name
    });
    assert_eq!(sent["chatMessage"]["metadata"], expected, "{sent}");
    // For a file elsewhere the metadata take the name from its address.
    let long = ("x".repeat(60_000), "x".repeat(255));
    for (end, plain) in [("photo_%E2%80%AEgpj.exe?x".to_owned(), plain.to_owned()), long] {
        let address = format!("https://a.example/{end}");
        let said = json!({"chatSessionId": session, "contentType": "FILE", "messageContent": address});
        let sent = ask(&mut tenant, "client/send-message", said).await;
        assert_eq!(sent["chatMessage"]["metadata"]["filename"], plain);
        assert_eq!(sent["chatMessage"]["messageContent"], address, "which is as it was sent");
    }
    tenant.close().await;
    server.stop().await;
}

/// Repeated form fields: refused where the answer has room for one value only, since the sender would believe that both were
/// kept.
#[tokio::test]
async fn what_is_given_twice_is_kept_or_refused() {
    let mut server = Server::with_tokens(Backend::memory()).await;
    let john = server.log_in(JOHN).await;
    let text = |name: &str, value: &str| format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}").into_bytes();
    let part = |dialect, name: &str| file(dialect, &format!("filename=\"{name}\""), "text/plain", name.as_bytes());
    let messaging = |name: &str| part(Dialect::Messaging, name);
    let room = |name: &str| part(Dialect::Room, name);
    for (dialect, parts, words) in [
        (Dialect::Messaging, vec![messaging("1"), messaging("2")], "file must be given once"),
        (Dialect::Messaging, vec![messaging("1"), text("name", "1"), text("name", "2")], "name must be given once"),
        (
            Dialect::Messaging,
            vec![messaging("1"), text("thread_id", "1"), text("thread_id", "2")],
            "thread_id must be given once",
        ),
        (Dialect::Room, vec![room("1"), text("receiver", UUID_OF_ADMIN)], "receiver must be given once"),
        (Dialect::Room, vec![room("1"), text("message", "1"), text("message", "2")], "message must be given once"),
        (Dialect::Room, (0..51).map(|number| room(&number.to_string())).collect(), "A message can have 50 files at most"),
    ] {
        let answer = dialect.post_parts(&john, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>()).await;
        assert_eq!((answer.status.as_u16(), dialect.refusal(&answer)), (400, words.into()), "{dialect:?}");
    }
    // A message of `room` may hold several files: it shows the first, and its text names the others.
    let parts = [room("1.txt"), room("2.txt"), text("message", "look"), text("attached_file_name", "one.txt"), room("3.txt")];
    let sent = Dialect::Room.post_parts(&john, &parts.each_ref().map(Vec::as_slice)).await.json()["entity"]["message"].take();
    assert_eq!(sent["attached_file_name"], "one.txt");
    let lines: Vec<_> = sent["message"].as_str().unwrap().lines().collect();
    let [said, two, three] = lines.as_slice() else { panic!("{sent}") };
    assert_eq!(*said, "look");
    for (line, name) in [(two, "2.txt"), (three, "3.txt")] {
        let address = line.strip_prefix(name).unwrap().trim();
        assert_eq!(server.get(address).await.text().await.unwrap(), name);
    }
    assert_eq!(server.get(sent["attached_file"].as_str().unwrap()).await.text().await.unwrap(), "1.txt");
    let messages = john.messaging("messages", json!({"thread_id": 1})).await;
    assert_eq!(messages["messages"].as_array().map(Vec::len), Some(1), "those that were refused left none: {messages}");
    let names = messages["messages"][0]["attachments"].as_array().unwrap().iter().map(|file| &file["name"]);
    assert_eq!(names.collect::<Vec<_>>(), ["one.txt", "2.txt", "3.txt"]);
    server.stop().await;
}

/// Content sniffing of office documents: their first bytes show only the container format.
#[tokio::test]
async fn documents_of_office_programs_keep_their_type() {
    const DOCX: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
    const ODS: &str = "application/vnd.oasis.opendocument.spreadsheet";
    let mut server = Server::with_tokens(Backend::memory()).await;
    let john = server.log_in(JOHN).await;
    for (declared, content, kept) in [
        (DOCX, ZIP, DOCX),
        (ODS, ZIP, ODS),
        ("application/vnd.ms-excel", COMPOUND, "application/vnd.ms-excel"),
        ("application/msword", COMPOUND, "application/msword"),
        ("text/csv", &b"a,b\n1,2\n"[..], "text/csv"),
        ("application/zip", ZIP, "application/zip"),
        (DOCX, &b"<script>alert(1)</script>"[..], "text/html"),
        ("text/html", ZIP, "application/zip"),
        ("image/png", ZIP, "application/zip"),
    ] {
        let form = multipart::Part::bytes(content.to_vec()).file_name("a").mime_str(declared).unwrap();
        let form = multipart::Form::new().part("file", form);
        let stored = Answer::of(john.request(Method::POST, "/api/messaging/attachment/upload").multipart(form)).await.json();
        assert_eq!(stored["mimetype"], kept, "{declared}: {stored}");

        let wish = json!({"filename": "a", "mimeType": declared, "type": "chat-images"});
        let urls = john.post("/file-new/get-upload-url", &wish).await.json()["data"]["uploadUrlData"].take();
        let put = http().put(urls["uploadURL"].as_str().unwrap()).header("Content-Type", declared).body(content);
        assert_eq!(Answer::of(put).await.status, 200, "{declared}");
        let shown = http().get(urls["resourceUrl"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(shown.headers()["content-type"], kept, "{declared}");
        assert_eq!(shown.headers()["content-disposition"], "attachment");
    }
    server.stop().await;
}

/// Files of unknown type: a browser declares an empty type, and its `PUT` has no `Content-Type`.
#[tokio::test]
async fn a_file_of_no_known_type_is_of_octets() {
    let mut server = Server::demo(Backend::memory()).await;
    let john = server.log_in(JOHN).await;
    for announced in ["", "unknown", "application/octet-stream"] {
        let wish = json!({"filename": "a.heic", "mimeType": announced, "type": "chat-images"});
        for kind in [None, Some(announced).filter(|kind| !kind.is_empty()), Some("application/octet-stream")] {
            let answer = john.post("/file-new/get-upload-url", &wish).await;
            assert_eq!(answer.status, 200, "{announced}: {answer:?}");
            let urls = answer.json()["data"]["uploadUrlData"].take();
            let put = http().put(urls["uploadURL"].as_str().unwrap()).body("anything");
            let put = kind.into_iter().fold(put, |put, kind| put.header("Content-Type", kind));
            assert_eq!(Answer::of(put).await.status, 200, "{announced}, {kind:?}");
            assert_eq!(Answer::of(http().get(urls["resourceUrl"].as_str().unwrap())).await.body, "anything");
        }
    }
    server.stop().await;
}
