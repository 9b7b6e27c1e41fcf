//! JSON types of the upload routes: the announcement of a file, and its signed URL.

use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions, Object,
    registry::{MetaMediaType, MetaRequest, Registry},
    types::{Example, Type},
};
use serde_json::Value;
use url::form_urlencoded;

use super::error::UploadFailure;
use crate::{
    chat::{SignedUpload, UploadAnnouncement, UploadGrant, UploadTarget},
    web::{
        AppContext,
        body::{self, BodyError, BodyLimit, FullBody, JsonError},
        jsonrpc,
    },
};

/// An announced upload. Errors in it are reported only after the caller's credentials are checked.
pub(super) struct UploadRequest(pub(super) Result<UploadAnnouncement, UploadFailure>);

/// A file to upload.
#[derive(Object)]
#[oai(rename = "UploadWish", example)]
#[allow(dead_code, non_snake_case, reason = "only its schema is used; wishes are read by `UploadWish`")]
struct UploadRequestSchema {
    /// Returned in the answer, without characters that change the text direction. The stored file gets a generated name.
    filename: String,
    /// The `Content-Type` of the later `PUT`. An empty one and `unknown` mean `application/octet-stream`. Sets the extension of
    /// the generated name, unless the type can run scripts.
    mimeType: String,
    /// The purpose of the file: one of a configured list.
    r#type: String,
}

impl Example for UploadRequestSchema {
    fn example() -> Self {
        Self { filename: "512x512.png".into(), mimeType: "image/png".into(), r#type: "chat-images".into() }
    }
}

impl<'a> ApiExtractor<'a> for UploadRequest {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamRawType = ();
    type ParamType = ();

    fn register(registry: &mut Registry) {
        UploadRequestSchema::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: "application/json", schema: UploadRequestSchema::schema_ref() }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(Self(read(request, body).await))
    }
}

async fn read(request: &Request, body: &mut RequestBody) -> Result<UploadAnnouncement, UploadFailure> {
    let no_json = || UploadFailure::bad_request("The body must be a JSON object, and Content-Type must say application/json");
    if !jsonrpc::is_json(request) {
        return Err(no_json());
    }
    let FullBody { bytes, mut charge } = body::read_body(request, body).await.map_err(|why| match why {
        BodyError::TooLarge => UploadFailure::too_large(BodyLimit::of(request).bytes as u64),
        BodyError::Truncated => no_json(),
        BodyError::TimedOut => UploadFailure::timed_out(),
        BodyError::NoShare(why) => UploadFailure::refused(why),
    })?;
    body::account(request).take_turn().await.map_err(UploadFailure::refused)?;
    let body = String::from_utf8(bytes).map_err(|_| no_json())?;
    let members = body::parse_json(&body, &mut charge).map_err(|why| match why {
        JsonError::NotJson | JsonError::TooLarge => no_json(),
        JsonError::NoShare(why) => UploadFailure::refused(why),
    })?;
    if !members.is_object() {
        return Err(no_json());
    }
    let text = |name: &str| match members.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(UploadFailure::bad_request(format!("{name} must be a text"))),
    };
    Ok(UploadAnnouncement { filename: text("filename")?, mimetype: text("mimeType")?, kind: text("type")? })
}

/// The address for the upload and the file's later address.
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
    /// Signed URL for one `PUT` of the file, with the announced `Content-Type`, until it expires.
    uploadURL: String,
    /// The announced name, without characters that change the text direction.
    fileName: String,
    /// The path of the stored file.
    uploadPath: String,
    /// The public address of the file after the upload.
    resourceUrl: String,
}

impl Answer {
    pub(super) fn new(filename: String, leave: UploadGrant, app: &AppContext) -> Self {
        let (put, get) = match leave.target {
            UploadTarget::Server(permit) => {
                let address = format!("{}/files/{}", app.base_url, leave.name);
                (format!("{address}?{}", query(&permit)), address)
            }
            UploadTarget::Bucket(addresses) => (addresses.put, addresses.get),
        };
        let get = match app.config.uploads.public_url.trim_end_matches('/') {
            "" => get,
            public => format!("{public}/{}", leave.name),
        };
        let upload_path = format!("/{}", leave.name);
        let urls = Urls { uploadURL: put, fileName: filename, uploadPath: upload_path, resourceUrl: get };
        Self { data: Data { uploadUrlData: urls }, message: "Upload Url generated successfully!".into() }
    }
}

fn query(permit: &SignedUpload) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("Content-Type", &permit.mimetype)
        .append_pair("Expires", &permit.expires.to_string())
        .append_pair("Signature", &permit.signature)
        .finish()
}
