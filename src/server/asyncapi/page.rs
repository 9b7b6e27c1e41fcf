//! HTML page of the AsyncAPI documents, rendered from Markdown. It loads nothing: no script, no font, no external style.

use pulldown_cmark::{Options, Parser, html::push_html};
use serde_json::Value;

const STYLE: &str = include_str!("page.css");

/// Page with a section for each dialect.
pub(super) fn of(documents: &[(&str, Value)]) -> String {
    let links: Vec<_> = documents.iter().map(|(dialect, _)| format!("[{dialect}](#{dialect})")).collect();
    let mut markdown = format!("# Sockets of Dragoman\n\n{}. HTTP routes: [OpenAPI](/docs).\n\n", links.join(", "));
    markdown.extend(documents.iter().map(|(dialect, document)| section(dialect, document)));
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Sockets of Dragoman</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>"
    );
    push_html(&mut html, Parser::new_ext(&markdown, Options::ENABLE_TABLES | Options::ENABLE_HEADING_ATTRIBUTES));
    html
}

fn section(dialect: &str, document: &Value) -> String {
    let (info, channel, components) = (&document["info"], &document["channels"][dialect], &document["components"]);
    let path = members(&channel["parameters"]).map(|(name, parameter)| row(&format!("{{{name}}}"), "path", parameter));
    let query = members(&channel["bindings"]["ws"]["query"]["properties"]);
    let query = query.map(|(name, parameter)| row(name, "query", parameter));
    let credentials = members(&components["securitySchemes"]).map(|(_, scheme)| {
        row(scheme["name"].as_str().unwrap_or("Authorization: Bearer"), scheme["in"].as_str().unwrap_or("header"), scheme)
    });
    let mut markdown = format!(
        "## {} {{ #{dialect} }}\n\n{}\n\nFor programs: [AsyncAPI](/asyncapi/{dialect}.json).\n\n### Connection\n\n`{}`\n\n{}\
         One of these credentials is enough:\n\n{}{}\n\n",
        text(&info["title"]),
        text(&info["description"]),
        text(&channel["address"]),
        table(path.chain(query)),
        table(credentials),
        text(&channel["description"]),
    );
    let keys = |action| -> Vec<&str> {
        let operations = members(&document["operations"]).filter(|(_, operation)| operation["action"] == action);
        operations.flat_map(|(_, operation)| references(operation)).collect()
    };
    let (requests, events) = (keys("receive"), keys("send"));
    let all = members(&components["messages"]).map(|(key, _)| key.as_str());
    let answers: Vec<_> = all.filter(|key| !requests.contains(key) && !events.contains(key)).collect();
    for (title, keys) in [("Requests", requests), ("Answers", answers), ("Events", events)] {
        markdown += &format!("### {title}\n\n");
        markdown.extend(keys.into_iter().map(|key| message(dialect, document, key)));
    }
    markdown += "### Schemas\n\n";
    for (name, schema) in members(&components["schemas"]) {
        markdown += &format!("#### {name}\n\n{}\n\n{}", text(&schema["description"]), shape(schema));
    }
    markdown
}

fn message(dialect: &str, document: &Value, key: &str) -> String {
    let messages = &document["components"]["messages"];
    let message = &messages[key];
    let link = |answer| format!("[{}](#{dialect}.{answer})", text(&messages[answer]["title"]));
    let answers: Vec<_> = references(&document["operations"][key]["reply"]).map(link).collect();
    let mut markdown = format!("#### {} {{ #{dialect}.{key} }}\n\n{}\n\n", text(&message["title"]), text(&message["summary"]));
    if !answers.is_empty() {
        markdown += &format!("Answers: {}\n\n", answers.join(", "));
    }
    markdown += &shape(&message["payload"]);
    markdown.extend(elements(&message["examples"]).map(|example| format!("```json\n{:#}\n```\n\n", example["payload"])));
    markdown
}

/// Tables of the members of an object, of each of its variants, and of the objects in it.
fn shape(schema: &Value) -> String {
    let is_required = |name: &str| elements(&schema["required"]).any(|required| required == name);
    let mut markdown = table(members(&schema["properties"]).map(|(name, member)| {
        row(name, &format!("{}{}", kind(member), if is_required(name) { "" } else { ", optional" }), member)
    }));
    let variants = elements(&schema["oneOf"]).enumerate().map(|(at, variant)| (format!("Variant {}", at + 1), variant));
    let objects = members(&schema["properties"]).map(|(name, member)| (format!("`{name}`"), member));
    for (name, schema) in variants.chain(objects).filter(|(_, schema)| schema["properties"].is_object()) {
        markdown += &format!("{name}:\n\n{}", shape(schema));
    }
    markdown
}

fn table(rows: impl Iterator<Item = String>) -> String {
    let rows: String = rows.collect();
    if rows.is_empty() { rows } else { format!("| name | kind | description |\n| --- | --- | --- |\n{rows}\n") }
}

fn row(name: &str, kind: &str, described: &Value) -> String {
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    format!("| `{name}` | {} | {} |\n", cell(kind), cell(text(&described["description"])))
}

/// Describes the type of a value in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        return name.rsplit('/').next().unwrap_or_default().to_owned();
    }
    if let Some(constant) = schema.get("const") {
        return format!("`{constant}`");
    }
    if schema["enum"].is_array() {
        return either(elements(&schema["enum"]).map(|constant| format!("`{constant}`")));
    }
    if let Some(several) = ["oneOf", "anyOf", "allOf"].into_iter().find(|several| schema[several].is_array()) {
        return either(elements(&schema[several]).map(kind));
    }
    let one = |name: &str| match (name, schema["pattern"].as_str(), schema["format"].as_str()) {
        ("array", _, _) if schema["items"].is_object() => format!("list of {}", kind(&schema["items"])),
        (_, Some(pattern), _) => format!("{name} like `{pattern}`"),
        (_, None, Some(format)) => format!("{name} ({format})"),
        (_, None, None) => name.to_owned(),
    };
    match &schema["type"] {
        Value::String(name) => one(name),
        Value::Array(names) => either(names.iter().map(|name| one(text(name)))),
        _ => "anything".to_owned(),
    }
}

fn either(kinds: impl Iterator<Item = String>) -> String {
    kinds.collect::<Vec<_>>().join(" or ")
}

/// Keys of the messages to which an operation or a reply refers.
fn references(operation: &Value) -> impl Iterator<Item = &str> {
    elements(&operation["messages"]).filter_map(|reference| text(&reference["$ref"]).rsplit('/').next())
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn elements(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
