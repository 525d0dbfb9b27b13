//! The allocator of the whole executable: jemalloc, kept small.
//!
//! Threads that answer, that write and that bring writes into sled allocate at the same time, which makes the C library's
//! arenas wait for each other: 64 writers get a third more done with this one. Knows nothing of what is allocated.

use libc::{c_char, c_void};
use std::{io, ptr};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// What jemalloc reads before `main`: a string of C.
#[repr(transparent)]
struct Options(*const c_char);

#[expect(unsafe_code, reason = "a pointer to a constant, which nobody changes, may be shared")]
// SAFETY: see the reason.
unsafe impl Sync for Options {}

/// Two arenas for as many cores; freed pages go back to the system within a second; threads keep small pieces alone to
/// themselves, since a dozen of them are mostly idle. Address space is given back too: a child's is limited.
#[used]
#[expect(unsafe_code, reason = "jemalloc looks for a symbol of this name")]
#[unsafe(export_name = "_rjem_malloc_conf")]
static OPTIONS: Options =
    Options(c"narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0,tcache_max:4096,retain:false".as_ptr());

/// Gives freed pages back though nothing is allocated any more, by a thread that sleeps otherwise. For processes that stay.
#[expect(unsafe_code, reason = "mallctl is a C function")]
pub fn keep_small() {
    let mut on = true;
    // SAFETY: the name ends in nought, and `background_thread` takes a `bool`, which mallctl copies.
    let error = unsafe {
        let new: *mut bool = &raw mut on;
        tikv_jemalloc_sys::mallctl(
            c"background_thread".as_ptr(),
            ptr::null_mut(),
            ptr::null_mut(),
            new.cast::<c_void>(),
            size_of::<bool>(),
        )
    };
    if error != 0 {
        let error = io::Error::from_raw_os_error(error);
        tracing::warn!(%error, "freed memory goes back to the system only while there is something to do");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "mallctl is a C function")]
    fn the_options_are_those_of_this_module() {
        let (mut arenas, mut size) = (0u32, size_of::<u32>());
        // SAFETY: the name ends in nought, and `opt.narenas` is an `unsigned`, as large as said.
        let error = unsafe {
            let old: *mut u32 = &raw mut arenas;
            tikv_jemalloc_sys::mallctl(c"opt.narenas".as_ptr(), old.cast::<c_void>(), &raw mut size, ptr::null_mut(), 0)
        };
        assert_eq!((error, arenas), (0, 2));
    }
}
