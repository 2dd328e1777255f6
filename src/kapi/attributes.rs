// SPDX-License-Identifier: GPL-2.0

//! Read-only sysfs attributes of a driver's devices, in groups with a name.
//!
//! The driver core makes the files when the device has been bound, and removes them before it is
//! unbound; that waits for whoever reads one. So a reader never meets a device half made or half
//! gone, and no code of the module is reached after it is unloaded.
//!
//! C header: [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use core::marker::PhantomData;

use kernel::{
    bindings,
    device::{
        self,
        CoreInternal, //
    },
    error::{
        Result, //
    },
    prelude::*,
    str::{
        as_char_ptr_in_const_context,
        CString, //
    }, //
};

use super::driver_data::DriverData;

/// A file whose text is made from the driver's `T::Shared` when it is read.
///
/// # Invariants
///
/// `raw` is a `struct device_attribute` whose callback is the one for `T`.
#[repr(C)]
pub(crate) struct Attribute<T: DriverData> {
    raw: bindings::device_attribute,
    show: fn(&T::Shared) -> Result<CString>,
}

// SAFETY: The kernel only reads it.
unsafe impl<T: DriverData> Sync for Attribute<T> {}

impl<T: DriverData> Attribute<T> {
    /// The file `name`, which everybody may read. `show` makes the text without the newline;
    /// process context, may sleep.
    pub(crate) const fn new(name: &'static CStr, show: fn(&T::Shared) -> Result<CString>) -> Self {
        let mut raw: bindings::device_attribute = pin_init::zeroed();
        raw.attr.name = as_char_ptr_in_const_context(name);
        raw.attr.mode = 0o444;
        raw.__bindgen_anon_1.show = Some(show_attribute::<T>);
        // INVARIANT: Just set.
        Self { raw, show }
    }
}

/// A list of `N` attributes of `T`'s devices, with the null that ends it.
#[repr(transparent)]
pub(crate) struct List<T, const N: usize>([*mut bindings::attribute; N], PhantomData<fn(T)>);

// SAFETY: The kernel only reads it.
unsafe impl<T, const N: usize> Sync for List<T, N> {}

impl<T: DriverData, const N: usize> List<T, N> {
    /// The list of `attributes`, which are one fewer than `N`.
    pub(crate) const fn new(attributes: &'static [Attribute<T>]) -> Self {
        assert!(attributes.len() + 1 == N);
        let mut list = [core::ptr::null_mut(); N];
        let mut index = 0;
        while index < attributes.len() {
            list[index] = (&raw const attributes[index].raw.attr).cast_mut();
            index += 1;
        }
        Self(list, PhantomData)
    }
}

/// A directory of attributes of `T`'s devices.
#[repr(transparent)]
pub(crate) struct Group<T>(bindings::attribute_group, PhantomData<fn(T)>);

// SAFETY: The kernel only reads it.
unsafe impl<T> Sync for Group<T> {}

impl<T: DriverData> Group<T> {
    /// The directory `name` below the device's, with the files of `list`.
    pub(crate) const fn new<const N: usize>(
        name: &'static CStr,
        list: &'static List<T, N>,
    ) -> Self {
        let mut group: bindings::attribute_group = pin_init::zeroed();
        group.name = as_char_ptr_in_const_context(name);
        group.__bindgen_anon_2.attrs = (&raw const list.0).cast_mut().cast();
        Self(group, PhantomData)
    }
}

/// The groups of the driver `T`, with the null that ends them.
#[repr(transparent)]
pub(crate) struct Groups<T, const N: usize>([*const Group<T>; N]);

// SAFETY: The kernel only reads it.
unsafe impl<T, const N: usize> Sync for Groups<T, N> {}

impl<T: DriverData, const N: usize> Groups<T, N> {
    /// The list of `groups`, which are one fewer than `N`.
    pub(crate) const fn new(groups: &[&'static Group<T>]) -> Self {
        assert!(groups.len() + 1 == N);
        let mut list: [*const Group<T>; N] = [core::ptr::null(); N];
        let mut index = 0;
        while index < groups.len() {
            list[index] = groups[index];
            index += 1;
        }
        Self(list)
    }

    /// What a driver is registered with.
    pub(crate) const fn as_raw(&'static self) -> RawGroups<T> {
        RawGroups((&raw const self.0).cast_mut().cast(), PhantomData)
    }
}

/// The C view of the [`Groups`] of the driver `T`, which live for ever.
pub(crate) struct RawGroups<T>(
    pub(super) *mut *const bindings::attribute_group,
    PhantomData<fn(T)>,
);

/// Makes a `static` [`Group`]: `attribute_group!(NAME: Driver, c"directory", { c"file" => |it| text
/// })`, where `it` is the driver's `Shared`, and `text` a `Result<CString>`.
macro_rules! attribute_group {
    ($group:ident: $driver:ty, $name:expr, {
        $($file:expr => |$it:pat_param| $text:expr),* $(,)?
    }) => {
        static $group: $crate::kapi::attributes::Group<$driver> = {
            use $crate::kapi::attributes::{Attribute, Group, List};

            type Shared = <$driver as $crate::kapi::driver_data::DriverData>::Shared;
            const COUNT: usize = [$($file),*].len();
            static ATTRIBUTES: [Attribute<$driver>; COUNT] =
                [$(Attribute::new($file, |$it: &Shared| $text)),*];
            static LIST: List<$driver, { COUNT + 1 }> = List::new(&ATTRIBUTES);
            Group::new($name, &LIST)
        };
    };
}
pub(crate) use attribute_group;

/// # Safety
///
/// Must be called by sysfs, for a file of a device that is bound to a driver whose adapter is
/// [`super::pci_driver::Adapter<T>`]; `buffer` must have room for a page.
unsafe extern "C" fn show_attribute<T: DriverData>(
    dev: *mut bindings::device,
    attribute: *mut bindings::device_attribute,
    buffer: *mut c_char,
) -> isize {
    // SAFETY: By the type invariant, an attribute with this callback is the first field of an
    // `Attribute<T>`, which is a static.
    let show = unsafe { (*attribute.cast::<Attribute<T>>()).show };
    // SAFETY: The device is valid for the call; `Device` is a transparent wrapper.
    let dev = unsafe { &*dev.cast::<device::Device<CoreInternal<'_>>>() };
    // SAFETY: The file is there after probing has stored this type, and before unbinding begins.
    let data = unsafe { dev.drvdata_borrow::<T::Data<'_>>() };
    let text = match show(T::shared(&data)) {
        Ok(text) => text,
        Err(error) => return error.to_errno() as isize,
    };
    // SAFETY: Buffer and text are valid; the format takes one string.
    unsafe { bindings::sysfs_emit(buffer, c"%s\n".as_char_ptr(), text.as_char_ptr()) as isize }
}
