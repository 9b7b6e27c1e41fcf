//! Routes of the served OpenAPI document.

use serde_json::Value;

use super::Server;

/// A route of the served OpenAPI document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub method: String,
    /// Path template with `{...}` for parameters.
    pub path: String,
}

impl Route {
    pub fn is_poll(&self) -> bool {
        self.path.contains("/poll")
    }

    /// Path with `value` for each parameter.
    pub fn path_with(&self, value: &str) -> String {
        let mut path = String::new();
        for part in self.path.split_inclusive('/') {
            match part.strip_prefix('{') {
                Some(rest) => {
                    path.push_str(value);
                    path.extend(rest.ends_with('/').then_some('/'));
                }
                None => path.push_str(part),
            }
        }
        path
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Server {
    /// All routes in the served document.
    pub async fn routes(&self) -> Vec<Route> {
        let document: Value = self.get("/openapi.json").await.json().await.expect("the document is JSON");
        let paths = document["paths"].as_object().expect("it has paths");
        let routes = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("a path has methods");
            methods.keys().map(|method| Route { method: method.to_uppercase(), path: path.clone() })
        });
        let routes: Vec<_> = routes.collect();
        assert!(routes.len() > 30, "all routes are in it, not only {routes:?}");
        routes
    }
}
