fn main() {
    // The migrations are compiled in; cargo does not see that by itself when a file is added.
    println!("cargo:rerun-if-changed=../migrations");
}
