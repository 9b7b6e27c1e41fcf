//! HTML page of an AsyncAPI document. It loads nothing: no script, no font, no external style.

use std::fmt::Write;

use serde_json::Value;

const STYLE: &str = include_str!("page.css");

/// Text with HTML escaping.
struct HtmlEscaped<'a>(&'a str);

impl std::fmt::Display for HtmlEscaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            other => f.write_char(other),
        })
    }
}

/// Page builder.
struct AsyncapiPage<'a> {
    document: &'a Value,
    html: String,
}

pub(super) fn of(dialect: &str, document: &Value) -> String {
    let mut page = AsyncapiPage { document, html: String::new() };
    page.head(dialect);
    page.connecting(&document["channels"][dialect]);
    page.section("What clients say", "receive");
    page.section("What the server says by itself", "send");
    page.schemas();
    page.html
}

impl<'a> AsyncapiPage<'a> {
    fn add(&mut self, html: std::fmt::Arguments<'_>) {
        self.html.write_fmt(html).expect("writing to a String cannot fail");
    }

    fn head(&mut self, dialect: &str) {
        let info = &self.document["info"];
        let (title, description) = (HtmlEscaped(text(&info["title"])), HtmlEscaped(text(&info["description"])));
        self.add(format_args!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
             <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\
             <h1>{title}</h1><p>{description}</p>\
             <p>The same for programs: <a href=\"/asyncapi/{dialect}.json\">AsyncAPI</a>. \
             All routes of HTTP: <a href=\"/docs\">OpenAPI</a>.</p>"
        ));
    }

    fn connecting(&mut self, channel: &Value) {
        self.add(format_args!("<h2>Connecting</h2><p><code>{}</code></p><table>", HtmlEscaped(text(&channel["address"]))));
        for (name, parameter) in members(&channel["parameters"]) {
            self.row(&format!("{{{name}}}"), "", text(&parameter["description"]));
        }
        for (name, parameter) in members(&channel["bindings"]["ws"]["query"]["properties"]) {
            self.row(&format!("?{name}="), "", text(&parameter["description"]));
        }
        self.add(format_args!("</table><h3>Who it is</h3><p>One of these is enough.</p><table>"));
        for scheme in members(&self.document["components"]["securitySchemes"]).map(|(_, scheme)| scheme) {
            let name = scheme["name"].as_str().unwrap_or("Authorization: Bearer");
            self.row(name, scheme["in"].as_str().unwrap_or("header"), text(&scheme["description"]));
        }
        self.add(format_args!("</table><h3>How it ends</h3><p>{}</p>", HtmlEscaped(text(&channel["description"]))));
    }

    fn section(&mut self, title: &str, action: &str) {
        self.add(format_args!("<h2>{title}</h2>"));
        for (_, operation) in members(&self.document["operations"]).filter(|(_, operation)| operation["action"] == action) {
            for message in messages(&operation["messages"]) {
                self.message(message, operation["reply"].is_object());
            }
            for answer in messages(&operation["reply"]["messages"]) {
                let title = HtmlEscaped(text(&self.described(answer)["title"])).to_string();
                self.add(format_args!("<p>Answered with <a href=\"#{}\">{title}</a></p>", HtmlEscaped(answer)));
            }
        }
        if action == "receive" {
            self.answers();
        }
    }

    /// Adds the server's messages that are only responses.
    fn answers(&mut self) {
        self.add(format_args!("<h2>What the server answers</h2>"));
        let told: Vec<_> = members(&self.document["operations"])
            .filter(|(_, operation)| operation["action"] == "send")
            .flat_map(|(_, operation)| messages(&operation["messages"]))
            .collect();
        for (key, _) in members(&self.document["components"]["messages"]) {
            if key.starts_with("said.") && !told.contains(&key.as_str()) {
                self.message(key, false);
            }
        }
    }

    fn message(&mut self, key: &str, answered: bool) {
        let message = self.described(key);
        let kind = if answered { " <small>is answered</small>" } else { "" };
        let (title, summary) =
            (HtmlEscaped(text(&message["title"])), HtmlEscaped(message["summary"].as_str().unwrap_or_default()));
        self.add(format_args!("<h3 id=\"{}\">{title}{kind}</h3><p>{summary}</p>", HtmlEscaped(key)));
        self.shape(&message["payload"]);
        for example in message["examples"].as_array().into_iter().flatten() {
            let written = serde_json::to_string_pretty(&example["payload"]).expect("parsed JSON serializes");
            self.add(format_args!("<pre>{}</pre>", HtmlEscaped(&written)));
        }
    }

    fn schemas(&mut self) {
        self.add(format_args!("<h2>Things</h2>"));
        for (name, schema) in members(&self.document["components"]["schemas"]) {
            self.add(format_args!("<h3 id=\"{0}\">{0}</h3>", HtmlEscaped(name)));
            self.add(format_args!("<p>{}</p>", HtmlEscaped(schema["description"].as_str().unwrap_or_default())));
            self.shape(schema);
        }
        self.add(format_args!("</body></html>"));
    }

    /// Adds the members of an object, and of each of its variants.
    fn shape(&mut self, schema: &Value) {
        if schema["properties"].is_object() {
            self.add(format_args!("<table>"));
            let required: Vec<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            for (name, member) in members(&schema["properties"]) {
                let may_miss = if required.contains(&name.as_str()) { "" } else { ", may be missing" };
                let kind = format!("{}{may_miss}", kind(member));
                self.row(name, &kind, member["description"].as_str().unwrap_or_default());
            }
            self.add(format_args!("</table>"));
        }
        let variants: Vec<_> =
            schema["oneOf"].as_array().into_iter().flatten().filter(|one| one["properties"].is_object()).collect();
        for (at, variant) in variants.into_iter().enumerate() {
            self.add(format_args!("<p>{}</p>", if at == 0 { "with" } else { "or with" }));
            self.shape(variant);
        }
        for (name, member) in members(&schema["properties"]) {
            if member["properties"].is_object() {
                self.add(format_args!("<p><code>{}</code> has</p>", HtmlEscaped(name)));
                self.shape(member);
            }
        }
    }

    fn row(&mut self, name: &str, kind: &str, says: &str) {
        self.add(format_args!(
            "<tr><td><code>{}</code><td>{}<td>{}</tr>",
            HtmlEscaped(name),
            HtmlEscaped(kind),
            HtmlEscaped(says)
        ));
    }

    fn described(&self, key: &str) -> &'a Value {
        &self.document["components"]["messages"][key]
    }
}

/// Describes the type of a value in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        return name.rsplit('/').next().unwrap_or_default().to_owned();
    }
    if let Some(constant) = schema.get("const") {
        return constant.to_string();
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(Value::to_string).collect::<Vec<_>>().join(" or ");
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        if let Some(kinds) = schema[several].as_array() {
            return kinds.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    let list = |of: &Value| if of.is_object() { format!("list of {}", kind(of)) } else { "list".to_owned() };
    let one = |name: &str| match (name, schema["pattern"].as_str(), schema["format"].as_str()) {
        ("array", _, _) => list(&schema["items"]),
        (_, Some(pattern), _) => format!("{name} like {pattern}"),
        (_, None, Some(format)) => format!("{name} ({format})"),
        (_, None, None) => name.to_owned(),
    };
    match &schema["type"] {
        Value::String(name) => one(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(one).collect::<Vec<_>>().join(" or "),
        _ => "anything".to_owned(),
    }
}

/// Keys of the messages in a list of references.
fn messages(list: &Value) -> impl Iterator<Item = &str> {
    let references = list.as_array().into_iter().flatten();
    references.filter_map(|reference| reference["$ref"].as_str()?.rsplit('/').next())
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("the document holds a text there")
}
