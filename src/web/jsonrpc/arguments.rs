//! Python calling conventions: positional and keyword arguments.

use serde_json::{Map, Value};

use super::Fault;

/// Arguments of one call.
#[derive(Default)]
pub struct Arguments {
    positional: Vec<Value>,
    named: Map<String, Value>,
}

impl Arguments {
    /// Combines positional arguments with keyword arguments, which are an object. `null` and `false` mean no keyword arguments.
    pub fn new(positional: Vec<Value>, named: Value) -> Result<Self, Fault> {
        match named {
            Value::Object(mut named) => {
                // `context` selects language and time zone in Odoo. Here both belong to the user.
                named.remove("context");
                Ok(Self { positional, named })
            }
            Value::Null | Value::Bool(false) => Ok(Self { positional, named: Map::new() }),
            Value::Bool(true) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(Fault::type_error("argument after ** must be a mapping"))
            }
        }
    }

    /// Binds the arguments to a function's parameters. The first `required` parameters are mandatory.
    pub fn bind<const N: usize>(
        mut self,
        function: &str,
        required: usize,
        names: [&'static str; N],
    ) -> Result<[Option<Value>; N], Fault> {
        let given = self.positional.len();
        if given > N {
            let takes = if required == N { format!("{N}") } else { format!("from {required} to {N}") };
            return Err(Fault::type_error(format!("{function}() takes {takes} positional arguments but {given} were given")));
        }
        let mut positional = self.positional.into_iter();
        let mut doubled = None;
        let bound = names.map(|name| {
            let (by_position, by_name) = (positional.next(), self.named.remove(name));
            if by_position.is_some() && by_name.is_some() {
                doubled.get_or_insert(name);
            }
            by_position.or(by_name)
        });
        if let Some(name) = doubled {
            return Err(Fault::type_error(format!("{function}() got multiple values for argument '{name}'")));
        }
        if let Some(name) = self.named.keys().next() {
            return Err(Fault::type_error(format!("{function}() got an unexpected keyword argument '{name}'")));
        }
        let unbound = names.iter().zip(&bound).take(required).filter(|(_, value)| value.is_none());
        let missing: Vec<_> = unbound.map(|(name, _)| *name).collect();
        if missing.is_empty() { Ok(bound) } else { Err(Fault::missing_arguments(&format!("{function}()"), &missing)) }
    }
}
