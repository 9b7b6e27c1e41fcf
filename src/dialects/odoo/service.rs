//! Model calls by two routes: `/jsonrpc`, for clients that send login and password with every call, and `/web/dataset/*`, for
//! clients with a session.

use poem::Request;
use poem_openapi::{OpenApi, param::Path};
use serde_json::Value;
use storage::UserId;

use super::{
    Tag, about, error, models,
    wire::{ModelCall, ServiceCall},
};
use crate::{
    auth::{self, Caller, SignInOrigin},
    shares::Account,
    web::{
        AppContext, body,
        jsonrpc::{
            Call, Fault, Reply,
            arguments::Arguments,
            fault,
            model::{MethodResult, Model},
        },
        session::{self, Session},
    },
};

pub(super) struct ServiceApi {
    pub(super) app: AppContext,
    /// Models of other dialects.
    pub(super) other_models: &'static [&'static dyn Model],
}

/// Model calls.
#[OpenApi(tag = "Tag::Odoo")]
impl ServiceApi {
    /// Call a service
    ///
    /// `common` has `version`, `about`, `login` and `authenticate`; `db` has `list`, `db_exist` and `server_version`; `object`
    /// has `execute` and `execute_kw`, whose arguments begin with database, uid and password.
    #[oai(path = "/jsonrpc", method = "post", operation_id = "jsonrpc")]
    async fn jsonrpc(&self, request: &Request, call: Call<ServiceCall>) -> Reply<MethodResult, Value> {
        let account = body::account(request);
        let from = session::sign_in_origin(request);
        let reply = call.unauthenticated(async |ServiceCall { service, method, args }: ServiceCall| {
            let given = [("service", service.is_some()), ("method", method.is_some()), ("args", args.is_some())];
            let (Some(service), Some(method), Some(args)) = (service, method, args) else {
                return Err(missing("RPC.jsonrpc()", given).into());
            };
            Ok(match service.as_str() {
                "common" => self.common(&method, args, from).await?.into(),
                "db" => self.db(&method, args)?.into(),
                "object" => self.object(account, &method, args, from).await?,
                unknown => return Err(Fault::new("builtins.KeyError", unknown.to_owned()).into()),
            })
        });
        reply.await
    }

    /// Call a model's method
    #[oai(path = "/web/dataset/call_kw", method = "post", operation_id = "dataset_call_kw")]
    async fn call_kw(&self, request: &Request, call: Call<ModelCall>, session: Session) -> Reply<MethodResult, Value> {
        self.dataset(body::account(request), call, session).await
    }

    /// Call a model's method, named in the path as well
    ///
    /// The path only serves access logs; model and method are taken from the body.
    #[oai(path = "/web/dataset/call_kw/:model/:method", method = "post", operation_id = "dataset_call_kw_at")]
    async fn call_kw_at(
        &self,
        request: &Request,
        call: Call<ModelCall>,
        session: Session,
        #[oai(name = "model")] _model: Path<String>,
        #[oai(name = "method")] _method: Path<String>,
    ) -> Reply<MethodResult, Value> {
        self.dataset(body::account(request), call, session).await
    }

    /// Call a model's method, as clients of older versions do
    #[oai(path = "/web/dataset/call", method = "post", operation_id = "dataset_call")]
    async fn call(&self, request: &Request, call: Call<ModelCall>, session: Session) -> Reply<MethodResult, Value> {
        self.dataset(body::account(request), call, session).await
    }
}

impl ServiceApi {
    async fn dataset(&self, account: &Account, call: Call<ModelCall>, session: Session) -> Reply<MethodResult, Value> {
        let reply = call.logged_in(session, async |login, ModelCall { model, method, args, kwargs }: ModelCall| {
            let given = [("model", model.is_some()), ("method", method.is_some()), ("args", args.is_some())];
            let (Some(model), Some(method), Some(args)) = (model, method, args) else {
                return Err(missing("DataSet.call_kw()", given).into());
            };
            let arguments = Arguments::new(args, kwargs.unwrap_or_default())?;
            let model = models::find(&model, &method, self.other_models).ok_or_else(|| Fault::new("builtins.KeyError", model))?;
            Ok(models::call(model, &self.app, &login, account, &method, arguments).await?)
        });
        reply.await
    }

    async fn common(&self, method: &str, args: Vec<Value>, from: SignInOrigin<'_>) -> Result<Value, Fault> {
        let args = Arguments::new(args, Value::Null)?;
        match method {
            "version" => {
                let [] = args.bind("exp_version", 0, [])?;
                Ok(json(&about::version(&self.app)))
            }
            "about" => {
                let [extended] = args.bind("exp_about", 0, ["extended"])?;
                let about = Value::from("See http://openerp.com");
                let version = || self.app.config.odoo.server_version.clone().into();
                Ok(if extended.is_some_and(|yes| yes == true) { Value::Array(vec![about, version()]) } else { about })
            }
            "login" => {
                let [db, login, password] = args.bind("exp_login", 3, ["db", "login", "password"])?;
                self.uid(db, login, password, from).await
            }
            "authenticate" => {
                let names = ["db", "login", "password", "user_agent_env"];
                let [db, login, password, _] = args.bind("exp_authenticate", 4, names)?;
                self.uid(db, login, password, from).await
            }
            unknown => Err(Fault::new("builtins.Exception", format!("Method not found: {unknown}"))),
        }
    }

    /// Uid of a login; `false` if the credentials are refused, as Odoo's clients expect.
    async fn uid(
        &self,
        db: Option<Value>,
        login: Option<Value>,
        password: Option<Value>,
        from: SignInOrigin<'_>,
    ) -> Result<Value, Fault> {
        self.expect_database(db)?;
        let (Some(Value::String(login)), Some(Value::String(password))) = (login, password) else { return Ok(false.into()) };
        match self.app.auth.user(&login, &password, from).await {
            Ok(user) => Ok(user.id.0.into()),
            Err(auth::Error::Denied) => Ok(false.into()),
            Err(error) => Err(fault(&error)),
        }
    }

    fn db(&self, method: &str, args: Vec<Value>) -> Result<Value, Fault> {
        let args = Arguments::new(args, Value::Null)?;
        match method {
            "list" => {
                let [_] = args.bind("exp_list", 0, ["document"])?;
                Ok(about::databases(&self.app)?.into())
            }
            "db_exist" => {
                let [name] = args.bind("exp_db_exist", 1, ["db_name"])?;
                Ok(name.is_some_and(|name| name == self.app.config.database.as_str()).into())
            }
            "server_version" => {
                let [] = args.bind("exp_server_version", 0, [])?;
                Ok(self.app.config.odoo.server_version.clone().into())
            }
            unknown => Err(Fault::new("builtins.KeyError", format!("Method not found: {unknown}"))),
        }
    }

    async fn object(
        &self,
        account: &Account,
        method: &str,
        args: Vec<Value>,
        from: SignInOrigin<'_>,
    ) -> Result<MethodResult, Fault> {
        let mut args = args.into_iter();
        let (Some(db), Some(uid), Some(password)) = (args.next(), args.next(), args.next()) else {
            return Err(Fault::new("builtins.IndexError", "list index out of range"));
        };
        self.expect_database(Some(db))?;
        let caller = self.caller(&uid, &password, from).await?;
        let mut first: Vec<_> = args.collect();
        let (model, method, arguments) = match method {
            "execute" => {
                let rest = first.split_off(first.len().min(2));
                let [model, method] = Arguments::new(first, Value::Null)?.bind("execute", 2, ["obj", "method"])?;
                (model, method, Arguments::new(rest, Value::Null)?)
            }
            "execute_kw" => {
                let names = ["obj", "method", "args", "kw"];
                let [model, method, args, kw] = Arguments::new(first, Value::Null)?.bind("execute_kw", 3, names)?;
                let Some(Value::Array(args)) = args else {
                    return Err(Fault::type_error("argument after * must be an iterable"));
                };
                (model, method, Arguments::new(args, kw.unwrap_or_default())?)
            }
            unknown => return Err(Fault::new("builtins.NameError", format!("Method not available {unknown}"))),
        };
        let (model, method) = (name(model), name(method));
        let found = models::find(&model, &method, self.other_models)
            .ok_or_else(|| error::user_error(format!("Object {model} doesn't exist")))?;
        models::call(found, &self.app, &caller, account, &method, arguments).await
    }

    async fn caller(&self, uid: &Value, password: &Value, from: SignInOrigin<'_>) -> Result<Caller, Fault> {
        let uid = uid.as_i64().or_else(|| uid.as_str()?.trim().parse().ok()).ok_or_else(Fault::access_denied)?;
        let password = password.as_str().ok_or_else(Fault::access_denied)?;
        let user = self.app.auth.user_by_id(UserId(uid), password, from).await.map_err(|error| fault(&error))?;
        let caller = Caller::of(user);
        self.app.chat.record_request(&caller);
        Ok(caller)
    }

    fn expect_database(&self, given: Option<Value>) -> Result<(), Fault> {
        let name = name(given);
        if name == self.app.config.database { Ok(()) } else { Err(error::no_database(&name)) }
    }
}

/// Python's error for missing parameters.
fn missing<const N: usize>(function: &str, given: [(&'static str, bool); N]) -> Fault {
    let names: Vec<_> = given.into_iter().filter_map(|(name, given)| (!given).then_some(name)).collect();
    Fault::missing_arguments(function, &names)
}

/// Text of a name parameter. A value of another type becomes its JSON, which matches no name.
fn name(value: Option<Value>) -> String {
    match value {
        Some(Value::String(name)) => name,
        other => other.unwrap_or_default().to_string(),
    }
}

fn json(wire: &impl serde::Serialize) -> Value {
    serde_json::to_value(wire).expect("texts and numbers can be written as JSON")
}
