//! OpenAPI schemas of the JSON-RPC envelope.

use std::marker::PhantomData;

use poem_openapi::{
    Object,
    types::{Any, Example, ParseFromJSON, ToJSON},
};
use serde_json::Value;

/// A JSON-RPC call, as Odoo's clients make it.
#[derive(Object)]
#[oai(example)]
#[allow(dead_code, reason = "only its schema is used; calls are read by `Envelope`")]
pub(super) struct JsonRpcCall<P: ParseFromJSON + ToJSON + Example> {
    jsonrpc: Option<String>,
    method: Option<String>,
    params: P,
    /// Any JSON value.
    id: Any<Value>,
}

impl<P: ParseFromJSON + ToJSON + Example> Example for JsonRpcCall<P> {
    fn example() -> Self {
        Self { jsonrpc: Some("2.0".into()), method: Some("call".into()), params: P::example(), id: Any(Value::from(1)) }
    }
}

/// The reply to a JSON-RPC call, with a result or an error.
#[derive(Object)]
#[allow(dead_code, reason = "only its schema is used; replies are written by `Reply`")]
pub(super) struct JsonRpcReply<R: ParseFromJSON + ToJSON> {
    jsonrpc: String,
    /// The `id` of the call; null if it was missing.
    id: Any<Value>,
    result: Option<R>,
    error: Option<JsonRpcError>,
}

/// An error of the envelope.
#[derive(Object)]
#[allow(dead_code, reason = "only its schema is used; errors are written by `Fault`")]
pub(super) struct JsonRpcError {
    /// 200 for any failure, 100 for an expired session, 404 for an unknown route.
    code: u16,
    message: String,
    data: JsonRpcErrorData,
}

/// Details of an error.
#[derive(Object)]
#[allow(dead_code, reason = "only its schema is used; errors are written by `Fault`")]
pub(super) struct JsonRpcErrorData {
    /// Name of a Python exception, for example `odoo.exceptions.AccessDenied`.
    name: String,
    /// Correlation id, which is also in the server's log.
    debug: String,
    message: String,
    arguments: Vec<Any<Value>>,
    context: Any<Value>,
}

/// `params` without meaning; any are accepted.
#[derive(Object, Debug)]
#[oai(example)]
pub struct NoJsonRpcParams {
    #[oai(skip)]
    nothing: PhantomData<()>,
}

impl Example for NoJsonRpcParams {
    fn example() -> Self {
        Self { nothing: PhantomData }
    }
}
