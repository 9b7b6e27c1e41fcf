//! Media types of office documents. Their first bytes show only the container, so the declared type counts if it fits the
//! container. A browser opens none of them as active content.

use super::mentions::essence;

/// Container format of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Zip,
    /// Microsoft's Compound File Binary.
    Compound,
    Text,
}

const DOCUMENTS: &[(&str, Container)] = &[
    ("application/msword", Container::Compound),
    ("application/vnd.apple.keynote", Container::Zip),
    ("application/vnd.apple.numbers", Container::Zip),
    ("application/vnd.apple.pages", Container::Zip),
    ("application/vnd.ms-excel", Container::Compound),
    ("application/vnd.ms-excel.sheet.binary.macroEnabled.12", Container::Zip),
    ("application/vnd.ms-excel.sheet.macroEnabled.12", Container::Zip),
    ("application/vnd.ms-excel.template.macroEnabled.12", Container::Zip),
    ("application/vnd.ms-outlook", Container::Compound),
    ("application/vnd.ms-powerpoint", Container::Compound),
    ("application/vnd.ms-powerpoint.presentation.macroEnabled.12", Container::Zip),
    ("application/vnd.ms-powerpoint.slideshow.macroEnabled.12", Container::Zip),
    ("application/vnd.ms-project", Container::Compound),
    ("application/vnd.ms-visio.drawing", Container::Zip),
    ("application/vnd.ms-word.document.macroEnabled.12", Container::Zip),
    ("application/vnd.ms-word.template.macroEnabled.12", Container::Zip),
    ("application/vnd.oasis.opendocument.chart", Container::Zip),
    ("application/vnd.oasis.opendocument.formula", Container::Zip),
    ("application/vnd.oasis.opendocument.graphics", Container::Zip),
    ("application/vnd.oasis.opendocument.presentation", Container::Zip),
    ("application/vnd.oasis.opendocument.presentation-template", Container::Zip),
    ("application/vnd.oasis.opendocument.spreadsheet", Container::Zip),
    ("application/vnd.oasis.opendocument.spreadsheet-template", Container::Zip),
    ("application/vnd.oasis.opendocument.text", Container::Zip),
    ("application/vnd.oasis.opendocument.text-template", Container::Zip),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation", Container::Zip),
    ("application/vnd.openxmlformats-officedocument.presentationml.slideshow", Container::Zip),
    ("application/vnd.openxmlformats-officedocument.presentationml.template", Container::Zip),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", Container::Zip),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.template", Container::Zip),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", Container::Zip),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.template", Container::Zip),
    ("application/vnd.visio", Container::Compound),
    ("text/csv", Container::Text),
];

/// The media type of a file with the detected type `found` and the type `declared` by its sender.
pub(in crate::chat) fn reconciled_media_type(found: &'static str, declared: Option<&str>) -> &'static str {
    let declared = declared.and_then(|declared| document(essence(declared)));
    match (declared, container(found)) {
        (Some((name, declared)), Some(found)) if declared == found => name,
        _ => found,
    }
}

fn document(mimetype: &str) -> Option<(&'static str, Container)> {
    DOCUMENTS.iter().find(|(name, _)| name.eq_ignore_ascii_case(mimetype)).copied()
}

/// The container of a file, by its detected type.
fn container(found: &str) -> Option<Container> {
    match found {
        "application/zip" => Some(Container::Zip),
        "application/x-ole-storage" => Some(Container::Compound),
        "text/plain" => Some(Container::Text),
        _ => document(found).map(|(_, container)| container),
    }
}

#[cfg(test)]
mod tests {
    use super::reconciled_media_type;

    #[test]
    fn a_document_is_what_it_is_said_to_be_if_its_container_fits() {
        const DOCX: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
        for (found, declared, settled_as) in [
            ("application/zip", Some(DOCX), DOCX),
            (
                "application/zip",
                Some("application/vnd.oasis.opendocument.text; charset=binary"),
                "application/vnd.oasis.opendocument.text",
            ),
            (DOCX, Some("application/vnd.ms-word.document.macroenabled.12"), "application/vnd.ms-word.document.macroEnabled.12"),
            (DOCX, None, DOCX),
            (DOCX, Some("application/octet-stream"), DOCX),
            ("application/x-ole-storage", Some("application/vnd.ms-excel"), "application/vnd.ms-excel"),
            ("application/msword", Some("application/vnd.ms-powerpoint"), "application/vnd.ms-powerpoint"),
            ("text/plain", Some("text/csv"), "text/csv"),
            ("text/plain", Some("application/vnd.ms-excel"), "text/plain"),
            ("text/plain", Some(DOCX), "text/plain"),
            ("text/html", Some("text/csv"), "text/html"),
            ("application/zip", Some("application/msword"), "application/zip"),
            ("application/zip", Some("image/png"), "application/zip"),
            ("application/zip", Some(""), "application/zip"),
            ("image/png", Some(DOCX), "image/png"),
            ("application/octet-stream", Some(DOCX), "application/octet-stream"),
        ] {
            assert_eq!(reconciled_media_type(found, declared), settled_as, "{found}, {declared:?}");
        }
    }
}
