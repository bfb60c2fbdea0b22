//! Pulls `lua/lib/` pieces into a script: `-- @include NAME` stands for the text of `lua/lib/NAME.lua`.
//!
//! A server runs the whole text at every call and makes every function that it passes anew. So an include stands in the
//! innermost block that needs its functions, and costs nothing to the calls that do not come there.

use std::fmt::Write as _;

use include_dir::Dir;

const INCLUDE: &str = "-- @include ";

/// The final text of `lua/{name}.lua`.
///
/// A piece that is missing becomes a line that raises, so that the loss is loud wherever the text is run; the registry's
/// tests see to it that none is.
pub(super) fn resolve(lua: &Dir<'_>, name: &str) -> String {
    let mut text = String::new();
    append(lua, &format!("{name}.lua"), &mut Vec::new(), &mut text);
    text
}

/// `within` are the pieces that this one stands in: one that includes itself ends there.
fn append(lua: &Dir<'_>, path: &str, within: &mut Vec<String>, text: &mut String) {
    if within.iter().any(|outer| outer == path) {
        return;
    }
    let Some(source) = lua.get_file(path).and_then(|file| file.contents_utf8()) else {
        let _ = writeln!(text, "error('lua/{path} is missing')");
        return;
    };
    within.push(path.to_owned());
    for line in source.lines() {
        match line.trim_start().strip_prefix(INCLUDE) {
            Some(piece) => append(lua, &format!("lib/{}.lua", piece.trim()), within, text),
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    within.pop();
}
