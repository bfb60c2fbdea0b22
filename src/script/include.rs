//! Pulls `lua/lib/` pieces into a script: `-- @include NAME` stands for `lua/lib/NAME.lua`, once each.
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

fn append(lua: &Dir<'_>, path: &str, done: &mut Vec<String>, text: &mut String) {
    if done.iter().any(|seen| seen == path) {
        return;
    }
    done.push(path.to_owned());
    let Some(source) = lua.get_file(path).and_then(|file| file.contents_utf8()) else {
        let _ = writeln!(text, "error('lua/{path} is missing')");
        return;
    };
    for line in source.lines() {
        match line.trim_start().strip_prefix(INCLUDE) {
            Some(piece) => append(lua, &format!("lib/{}.lua", piece.trim()), done, text),
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
}
