//! `include_dir` does not notice new files by itself: rebuild when anything under `lua/` changes.

fn main() {
    println!("cargo:rerun-if-changed=lua");
}
