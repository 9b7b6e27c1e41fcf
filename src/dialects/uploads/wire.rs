//! What travels as JSON.

use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions, Object,
    registry::{MetaMediaType, MetaRequest, Registry},
    types::{Example, Type},
};
use serde_json::Value;
use url::form_urlencoded;

use super::error::Failure;
use crate::{
    chat::{Announced, Door, Leave, Permit},
    dialects::{
        House,
        body::{self, BodyLimit, NoTree, Unread, Whole},
        jsonrpc,
    },
};

/// What somebody wants to upload. What is wrong with it is told after the caller's credentials were looked at.
pub(super) struct UploadWish(pub(super) Result<Announced, Failure>);

/// A file to be uploaded.
#[derive(Object)]
#[oai(rename = "UploadWish", example)]
#[allow(dead_code, non_snake_case, reason = "only its schema is used; wishes are read by `UploadWish`")]
struct Schema {
    /// Comes back, without characters that turn the reading direction round. The file is stored under a name of its own.
    filename: String,
    /// What `Content-Type` is going to say; an empty one and `unknown` mean `application/octet-stream`. Gives the file's own name
    /// its extension, if it is of a type that cannot act.
    mimeType: String,
    /// What the file is for: one of the setting's list.
    r#type: String,
}

impl Example for Schema {
    fn example() -> Self {
        Self { filename: "512x512.png".into(), mimeType: "image/png".into(), r#type: "chat-images".into() }
    }
}

impl<'a> ApiExtractor<'a> for UploadWish {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamRawType = ();
    type ParamType = ();

    fn register(registry: &mut Registry) {
        Schema::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: "application/json", schema: Schema::schema_ref() }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(Self(read(request, body).await))
    }
}

async fn read(request: &Request, body: &mut RequestBody) -> Result<Announced, Failure> {
    let no_json = || Failure::bad_request("The body must be a JSON object, and Content-Type must say application/json");
    if !jsonrpc::is_json(request) {
        return Err(no_json());
    }
    let Whole { bytes, mut charge } = body::whole(request, body).await.map_err(|why| match why {
        Unread::TooLarge => Failure::too_large(BodyLimit::of(request).bytes as u64),
        Unread::Broken => no_json(),
        Unread::Late => Failure::timed_out(),
        Unread::NoShare(why) => Failure::refused(why),
    })?;
    body::account(request).take_turn().await.map_err(Failure::refused)?;
    let body = String::from_utf8(bytes).map_err(|_| no_json())?;
    let members = body::tree(&body, &mut charge).map_err(|why| match why {
        NoTree::NotJson | NoTree::TooLarge => no_json(),
        NoTree::NoShare(why) => Failure::refused(why),
    })?;
    if !members.is_object() {
        return Err(no_json());
    }
    let text = |name: &str| match members.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(Failure::bad_request(format!("{name} must be a text"))),
    };
    Ok(Announced { filename: text("filename")?, mimetype: text("mimeType")?, kind: text("type")? })
}

/// Where to put the file, and where it will be.
#[derive(Debug, Object)]
#[oai(rename = "UploadAnswer")]
pub(super) struct Answer {
    data: Data,
    message: String,
}

#[derive(Debug, Object)]
#[oai(rename = "UploadData")]
#[allow(non_snake_case, reason = "as on the wire")]
struct Data {
    uploadUrlData: Urls,
}

#[derive(Debug, Object)]
#[oai(rename = "UploadUrls")]
#[allow(non_snake_case, reason = "as on the wire")]
struct Urls {
    /// Takes one `PUT` of the file, with the announced `Content-Type`, while it is good.
    uploadURL: String,
    /// As announced, without characters that turn the reading direction round.
    fileName: String,
    /// Under which the file is stored.
    uploadPath: String,
    /// Where anybody can read the file once it was put.
    resourceUrl: String,
}

impl Answer {
    pub(super) fn new(filename: String, leave: Leave, house: &House) -> Self {
        let (put, get) = match leave.door {
            Door::Ours(permit) => {
                let address = format!("{}/files/{}", house.base_url, leave.name);
                (format!("{address}?{}", query(&permit)), address)
            }
            Door::Theirs(addresses) => (addresses.put, addresses.get),
        };
        let get = match house.config.uploads.public_url.trim_end_matches('/') {
            "" => get,
            public => format!("{public}/{}", leave.name),
        };
        let upload_path = format!("/{}", leave.name);
        let urls = Urls { uploadURL: put, fileName: filename, uploadPath: upload_path, resourceUrl: get };
        Self { data: Data { uploadUrlData: urls }, message: "Upload Url generated successfully!".into() }
    }
}

fn query(permit: &Permit) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("Content-Type", &permit.mimetype)
        .append_pair("Expires", &permit.expires.to_string())
        .append_pair("Signature", &permit.signature)
        .finish()
}
