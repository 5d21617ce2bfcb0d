//! The import graph of a crate, file by file: no two files import each other, directly or through others.
//!
//! Re-exports resolve to the file that defines the item, so a `mod.rs` that only re-exports is not part of a cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

use crate::tidy::{files, none};

type ModulePath = Vec<String>;

/// One source file of a crate.
struct SourceFile {
    name: String,
    /// Paths that `use` declarations and code refer to, absolute within the crate.
    references: Vec<ModulePath>,
    /// Names that this module re-exports, with their paths.
    reexports: BTreeMap<String, ModulePath>,
}

/// The files of a crate by module path.
struct CrateFiles(BTreeMap<ModulePath, SourceFile>);

impl CrateFiles {
    fn read(root: &str) -> Self {
        let mut modules = BTreeMap::new();
        let base = harness::root().join(root);
        let paths = files(root, "rs");
        let names: BTreeSet<ModulePath> =
            paths.iter().map(|path| module_path(path.strip_prefix(&base).unwrap())).collect();
        for path in &paths {
            let relative = path.strip_prefix(&base).unwrap();
            if relative.ends_with("tests.rs") || relative.components().any(|part| part.as_os_str() == "tests") {
                continue;
            }
            let module = module_path(relative);
            let syntax = syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap();
            let mut reader = Reader {
                module: module.clone(),
                names: &names,
                imports: BTreeMap::new(),
                found: Vec::new(),
                reexports: BTreeMap::new(),
            };
            syntax
                .items
                .iter()
                .filter_map(|item| match item {
                    Item::Use(item) if !is_test(&item.attrs) => Some(item),
                    _ => None,
                })
                .for_each(|item| reader.read_use(item));
            reader.visit_file(&syntax);
            let name = format!("{root}/{}", relative.display());
            modules.insert(module, SourceFile { name, references: reader.found, reexports: reader.reexports });
        }
        assert!(modules.len() >= 3, "{root}");
        Self(modules)
    }

    /// The module whose file defines the item of a path.
    fn resolve(&self, path: &[String], depth: usize) -> Option<ModulePath> {
        let mut module = ModulePath::new();
        for (at, segment) in path.iter().enumerate() {
            let inner = [&module[..], std::slice::from_ref(segment)].concat();
            if self.0.contains_key(&inner) {
                module = inner;
                continue;
            }
            let target = self.0.get(&module)?.reexports.get(segment).filter(|_| depth < 8);
            return match target {
                Some(target) => self.resolve(&[&target[..], &path[at + 1..]].concat(), depth + 1),
                None => Some(module),
            };
        }
        Some(module)
    }

    fn edges(&self) -> BTreeMap<&ModulePath, BTreeSet<ModulePath>> {
        let edges = self.0.iter().map(|(module, file)| {
            let targets = file.references.iter().filter_map(|path| self.resolve(path, 0));
            (module, targets.filter(|target| target != module).collect())
        });
        edges.collect()
    }

    /// Pairs of files that import each other, directly or through other files.
    fn cycles(&self) -> Vec<String> {
        let edges = self.edges();
        let reach = |from: &ModulePath| {
            let mut seen = BTreeSet::new();
            let mut next: Vec<&ModulePath> = vec![from];
            while let Some(module) = next.pop() {
                for target in edges.get(module).into_iter().flatten() {
                    if seen.insert(target.clone()) {
                        next.push(self.0.get_key_value(target).unwrap().0);
                    }
                }
            }
            seen
        };
        let reachable: BTreeMap<&ModulePath, BTreeSet<ModulePath>> =
            edges.keys().map(|module| (*module, reach(module))).collect();
        let mut found = Vec::new();
        for (module, targets) in &edges {
            for target in targets.iter().filter(|target| reachable[*target].contains(*module)) {
                found.push(format!("{} -> {}", self.0[*module].name, self.0[target].name));
            }
        }
        found
    }
}

/// `a/b.rs` and `a/b/mod.rs` are `["a", "b"]`; `lib.rs` and `main.rs` are the root.
fn module_path(relative: &Path) -> ModulePath {
    let mut path: ModulePath =
        relative.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if matches!(path.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        path.pop();
    }
    path
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "test")
    })
}

/// Collects the references of one file.
struct Reader<'a> {
    module: ModulePath,
    names: &'a BTreeSet<ModulePath>,
    /// Names that `use` declarations bring into the file.
    imports: BTreeMap<String, ModulePath>,
    found: Vec<ModulePath>,
    reexports: BTreeMap<String, ModulePath>,
}

impl Reader<'_> {
    /// A path as it is written, absolute within the crate; `None` if it leads to another crate.
    fn absolute(&self, path: &[String]) -> Option<ModulePath> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([&self.module, rest].concat()),
            "super" => {
                let mut above = self.module.clone();
                above.pop();
                let skip = rest.iter().take_while(|segment| *segment == "super").count();
                (0..skip).for_each(|_| drop(above.pop()));
                Some([&above, &rest[skip..]].concat())
            }
            _ => {
                let child = [&self.module[..], std::slice::from_ref(first)].concat();
                self.names.contains(&child).then(|| [&self.module, path].concat())
            }
        }
    }

    fn read_use(&mut self, item: &syn::ItemUse) {
        let mut paths = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut paths);
        let is_reexport = !matches!(item.vis, Visibility::Inherited);
        for (path, name) in paths {
            let Some(path) = self.absolute(&path) else { continue };
            if is_reexport {
                self.reexports.insert(name.clone(), path.clone());
            } else {
                self.found.push(path.clone());
            }
            self.imports.insert(name, path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let skipped = match item {
            Item::Use(_) => true,
            Item::Mod(item) => is_test(&item.attrs),
            Item::Fn(item) => is_test(&item.attrs),
            Item::Impl(item) => is_test(&item.attrs),
            _ => false,
        };
        if !skipped {
            visit::visit_item(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: ModulePath = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let imported = self.reexports.get(&segments[0]).map(|target| [target, &segments[1..]].concat());
        let own = || (segments.len() > 1).then(|| self.absolute(&segments)).flatten();
        self.found.extend(imported.or_else(own));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let text = item.tokens.to_string().replace(' ', "");
        for rest in text.split("crate::").skip(1) {
            let path = rest.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).next().unwrap_or_default();
            self.found.push(path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect());
        }
        visit::visit_macro(self, item);
    }
}

fn flatten(tree: &UseTree, before: &mut ModulePath, found: &mut Vec<(ModulePath, String)>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, found);
            before.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, found)),
        UseTree::Glob(_) => found.push((before.clone(), "*".to_owned())),
        UseTree::Name(name) if name.ident == "self" => {
            found.push((before.clone(), before.last().cloned().unwrap_or_default()));
        }
        UseTree::Name(name) => {
            found.push(([&before[..], &[name.ident.to_string()]].concat(), name.ident.to_string()));
        }
        UseTree::Rename(rename) => {
            found.push(([&before[..], &[rename.ident.to_string()]].concat(), rename.rename.to_string()));
        }
    }
}

#[test]
fn no_two_files_import_each_other() {
    for root in ["framework/src", "handlers/src", "bin/src"] {
        none(&CrateFiles::read(root).cycles());
    }
}

/// Checks that the graph contains imports, re-exports and paths in code. An empty graph would pass the test above.
#[test]
fn the_import_graph_contains_known_edges() {
    let files = CrateFiles::read("framework/src");
    let edges = files.edges();
    let has = |from: &str, to: &str| {
        let path = |text: &str| -> ModulePath { text.split('/').map(str::to_owned).collect() };
        assert!(edges[&path(from)].contains(&path(to)), "{from} -> {to}: {:?}", edges[&path(from)]);
    };
    has("server/acceptor", "transport/listener"); // through the re-export in transport/mod.rs
    has("framing/lines", "framing/definition");
    has("server/reload", "server/running");
}
