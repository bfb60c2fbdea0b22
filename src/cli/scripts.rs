//! `costguard scripts`: the Lua behind every operation, for servers and for users of other languages.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use comfy_table::CellAlignment;
use costguard::script::{self, Contract, Script};
use costguard::store::Store as _;
use costguard::store::redis::RedisStore;
use serde::{Deserialize, Serialize};

use super::output::{OutputFile, print, print_json, table};
use super::target::ServerArgs;

/// What the manifest of an export is called.
const MANIFEST: &str = "manifest.json";

/// List, show, load, verify and export the Lua scripts
#[derive(Debug, clap::Args)]
pub(crate) struct ScriptsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the scripts: what each takes and gives, and its SHA-1
    List {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Print the text of one script, as it is sent to a server
    Show {
        /// Which one
        #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(names()))]
        name: String,
    },
    /// Load the scripts into a server's cache; loading again changes nothing
    ///
    /// The user needs the right to SCRIPT LOAD. Afterwards EVALSHA and the commands that the scripts call are enough
    /// to use them. A server forgets its scripts when it restarts.
    Load {
        #[command(flatten)]
        server: ServerArgs,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Check that a server has the scripts in its cache; the exit code is 1 when one is missing
    ///
    /// The user needs the right to EVALSHA. Nothing is changed.
    Verify {
        #[command(flatten)]
        server: ServerArgs,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Write the scripts and a manifest.json into a folder, for users of other languages
    Export {
        /// The folder; it is made where it does not exist
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Overwrite files that are not from an earlier export, or were changed since
        #[arg(long)]
        force: bool,
    },
}

pub(crate) async fn run(args: ScriptsArgs) -> anyhow::Result<()> {
    match args.command {
        Command::List { json: true } => print_json(&entries()),
        Command::List { json: false } => print(list()?.trim_end()),
        Command::Show { name } => show(&name),
        Command::Load { server, json } => load(&server, json).await,
        Command::Verify { server, json } => verify(&server, json).await,
        Command::Export { dir, force } => export(&dir, force),
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    script::all().iter().map(Script::name)
}

/// A script as lists and manifests name it: its contract, and what `EVALSHA` knows it by.
#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    contract: &'static Contract,
    writes: bool,
    sha1: &'static str,
    plain_sha1: &'static str,
}

fn entries() -> Vec<Entry> {
    let entry = |script: &'static Script| Entry {
        contract: script.contract(),
        writes: script.op().writes(),
        sha1: script.sha1(),
        plain_sha1: script.plain_sha1(),
    };
    script::all().iter().map(entry).collect()
}

fn list() -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for script in script::all() {
        let Contract { name, purpose, keys, args, reply, errors, flags: _ } = script.contract();
        writeln!(text, "{name}: {purpose}")?;
        writeln!(text, "  sha1    {}", script.sha1())?;
        writeln!(text, "  keys    {keys}")?;
        writeln!(text, "  args    {args}")?;
        writeln!(text, "  reply   {}", reply.join("\n          "))?;
        writeln!(text, "  errors  {errors}")?;
        writeln!(text, "  writes  {}\n", if script.op().writes() { "yes" } else { "no" })?;
    }
    Ok(text)
}

fn show(name: &str) -> anyhow::Result<()> {
    let Some(script) = script::all().iter().find(|script| script.name() == name) else {
        bail!("no script is called {name}; `costguard scripts list` names them");
    };
    print(script.text().trim_end())
}

/// The scripts on one server, for programs.
#[derive(Serialize)]
struct OnServer {
    store: String,
    scripts: Vec<ScriptOnServer>,
}

#[derive(Serialize)]
struct ScriptOnServer {
    name: &'static str,
    sha1: String,
    present: bool,
}

impl OnServer {
    fn print(&self, headline: &str, json: bool) -> anyhow::Result<()> {
        if json {
            return print_json(self);
        }
        let mut scripts = table(&["script", "sha1", "in the cache"]);
        for column in scripts.column_iter_mut() {
            column.set_cell_alignment(CellAlignment::Left);
        }
        for script in &self.scripts {
            let present = if script.present { "yes" } else { "missing" };
            scripts.add_row([script.name, &script.sha1, present]);
        }
        print(&format!("{headline} {}\n\n{scripts}", self.store))
    }
}

async fn load(server: &ServerArgs, json: bool) -> anyhow::Result<()> {
    let store = RedisStore::connect_with(&server.config()?).await?;
    let mut scripts = Vec::new();
    for script in script::all() {
        let sha1 = store.load(script).await?;
        scripts.push(ScriptOnServer { name: script.name(), sha1, present: true });
    }
    OnServer { store: store.describe(), scripts }.print("loaded into", json)
}

async fn verify(server: &ServerArgs, json: bool) -> anyhow::Result<()> {
    let store = RedisStore::connect_with(&server.config()?).await?;
    let mut scripts = Vec::new();
    for script in script::all() {
        let present = store.has(script).await?;
        scripts.push(ScriptOnServer { name: script.name(), sha1: script.sha1().to_owned(), present });
    }
    let missing = scripts.iter().filter(|script| !script.present).count();
    let all = scripts.len();
    OnServer { store: store.describe(), scripts }.print("on", json)?;
    ensure!(missing == 0, "{missing} of {all} scripts are missing; run `costguard scripts load` for this server");
    Ok(())
}

/// `manifest.json`: what a client in another language needs to call the scripts.
#[derive(Serialize)]
struct Manifest {
    costguard: &'static str,
    about: &'static str,
    scripts: Vec<ManifestEntry>,
}

#[derive(Serialize)]
struct ManifestEntry {
    file: String,
    #[serde(flatten)]
    entry: Entry,
}

/// What of an earlier manifest tells our files from others.
#[derive(Deserialize)]
struct Earlier {
    scripts: Vec<EarlierEntry>,
}

#[derive(Deserialize)]
struct EarlierEntry {
    file: String,
    sha1: String,
}

const ABOUT: &str = "Atomic operations for Redis and Valkey. `sha1` is of the file as it is. Servers before Redis 7 do not \
know its first line (#!lua ...): send them the text after that line; `plain_sha1` is of this text. `keys` must share one \
hash slot. `name...` repeats, `[name]` may be left out; replies are lines of words, the first of them a status; errors begin \
with COSTGUARD_ and one of `errors`.";

fn export(dir: &Path, force: bool) -> anyhow::Result<()> {
    let files = exported()?;
    if !force {
        refuse_foreign(dir, &files)?;
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    // All files are begun before the first is finished, so that a folder without room or right is left as it was.
    let mut begun = Vec::with_capacity(files.len());
    for (name, text) in &files {
        let mut file = OutputFile::create(&dir.join(name))?;
        file.write(text)?;
        begun.push(file);
    }
    for file in begun {
        file.finish()?;
    }
    print(&format!("wrote {} scripts and {MANIFEST} to {}", files.len() - 1, dir.display()))
}

/// The files of an export, by name; the manifest last.
fn exported() -> anyhow::Result<Vec<(String, String)>> {
    let file = |name: &str| format!("{name}.lua");
    let mut files: Vec<_> =
        script::all().iter().map(|script| (file(script.name()), script.text().to_owned())).collect();
    let scripts = entries().into_iter().map(|entry| ManifestEntry { file: file(entry.contract.name), entry }).collect();
    let manifest = Manifest { costguard: env!("CARGO_PKG_VERSION"), about: ABOUT, scripts };
    files.push((MANIFEST.to_owned(), serde_json::to_string_pretty(&manifest)? + "\n"));
    Ok(files)
}

/// A file may be overwritten when it is the same already, or when it is as an earlier export left it: its SHA-1 is the one
/// in the manifest beside it.
fn refuse_foreign(dir: &Path, files: &[(String, String)]) -> anyhow::Result<()> {
    let earlier: Option<Earlier> =
        std::fs::read(dir.join(MANIFEST)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    for (name, text) in files {
        let path = dir.join(name);
        let found = match std::fs::read(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let ours = match &earlier {
            Some(_) if name == MANIFEST => true,
            Some(earlier) => {
                let sha1 = sha1_smol::Sha1::from(&found).digest().to_string();
                earlier.scripts.iter().any(|entry| entry.file == *name && entry.sha1 == sha1)
            }
            None => false,
        };
        ensure!(
            ours || found == text.as_bytes(),
            "{} is not from an earlier export, or was changed since; nothing was written: choose another folder, or \
             overwrite it with --force",
            path.display()
        );
    }
    Ok(())
}
