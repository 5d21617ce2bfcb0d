//! Values of any type that are attached to a connection.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;

use parking_lot::Mutex;

/// Values that are attached to a connection, one of each type: what a layer knows and a handler needs.
///
/// ```
/// use switchboard::prelude::*;
/// use switchboard::Connection;
///
/// /// The user that a layer has authenticated.
/// #[derive(Clone)]
/// struct User(String);
///
/// fn greet(connection: &Connection) -> String {
///     match connection.extensions().get::<User>() {
///         Some(User(name)) => format!("hello, {name}"),
///         None => "hello".to_owned(),
///     }
/// }
/// ```
#[derive(Default)]
pub struct Extensions(Mutex<HashMap<TypeId, Value>>);

struct Value {
    value: Box<dyn Any + Send + Sync>,
    name: &'static str,
}

impl Extensions {
    /// Attaches a value. Returns the previous value of this type.
    pub fn insert<T: Send + Sync + 'static>(&self, value: T) -> Option<T> {
        let value = Value { value: Box::new(value), name: type_name::<T>() };
        take(self.0.lock().insert(TypeId::of::<T>(), value))
    }

    /// A clone of the value of this type.
    pub fn get<T: Clone + 'static>(&self) -> Option<T> {
        self.0.lock().get(&TypeId::of::<T>())?.value.downcast_ref().cloned()
    }

    /// Removes the value of this type.
    pub fn remove<T: 'static>(&self) -> Option<T> {
        take(self.0.lock().remove(&TypeId::of::<T>()))
    }
}

fn take<T: 'static>(value: Option<Value>) -> Option<T> {
    value?.value.downcast().ok().map(|value| *value)
}

/// Prints the names of the types.
impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.lock().values().map(|value| value.name)).finish()
    }
}
