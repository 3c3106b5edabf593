//! Reservations and images.

use bimetal_sys::{MemoryImage, Reservation, page_size, stack_pointer, thread_stack_limit};

/// The bytes of an accessible part.
#[allow(
    clippy::mut_from_ref,
    reason = "the memory is not the reservation's own"
)]
fn bytes(reservation: &Reservation, offset: usize, len: usize) -> &mut [u8] {
    assert!(offset + len <= reservation.size());
    // SAFETY: the tests pass accessible parts, and use one such slice at a time.
    unsafe { std::slice::from_raw_parts_mut(reservation.base().add(offset), len) }
}

#[test]
fn address_space_is_not_memory() {
    let size = 256 << 30;
    let many: Vec<_> = (0..16).map(|_| Reservation::new(size).unwrap()).collect();
    for reservation in &many {
        assert_eq!(reservation.size(), size);
        reservation.make_accessible(size - page_size(), 1).unwrap();
        bytes(reservation, size - 1, 1)[0] = 1;
    }
}

#[test]
fn sizes_are_whole_pages() {
    assert!(page_size().is_power_of_two());
    assert_eq!(Reservation::new(1).unwrap().size(), page_size());
    let empty = Reservation::new(0).unwrap();
    assert_eq!(empty.size(), 0);
    assert!(!empty.base().is_null());
    empty.make_accessible(0, 0).unwrap();
    empty.reset(0, 0).unwrap();
    assert!(empty.make_accessible(0, 1).is_err());
    assert!(Reservation::new(usize::MAX).is_err());
}

#[test]
fn accessible_parts_are_zero_and_zero_again() {
    let page = page_size();
    let memory = Reservation::new(8 * page).unwrap();
    memory.make_accessible(2 * page, 3 * page).unwrap();
    assert!(bytes(&memory, 2 * page, 3 * page).iter().all(|&b| b == 0));
    bytes(&memory, 2 * page, 3 * page).fill(7);
    memory.reset(3 * page, page).unwrap();
    assert!(bytes(&memory, 2 * page, page).iter().all(|&b| b == 7));
    assert!(bytes(&memory, 3 * page, page).iter().all(|&b| b == 0));
    assert!(bytes(&memory, 4 * page, page).iter().all(|&b| b == 7));
    // Growing keeps what is there.
    memory.make_accessible(2 * page, 6 * page).unwrap();
    assert_eq!(bytes(&memory, 2 * page, 1)[0], 7);
    bytes(&memory, 7 * page, page).fill(1);
}

#[test]
fn ranges_are_checked() {
    let page = page_size();
    let memory = Reservation::new(4 * page).unwrap();
    let image = MemoryImage::new(&vec![1; page + 1]).unwrap();
    for (offset, len) in [(0, 4 * page + 1), (4 * page, 1), (1, 1), (page, usize::MAX)] {
        assert!(memory.make_accessible(offset, len).is_err());
        assert!(memory.reset(offset, len).is_err());
        assert!(memory.map_image(offset, &image, 0, len).is_err());
    }
    assert!(memory.map_image(0, &image, 0, 2 * page + 1).is_err());
    assert!(memory.map_image(0, &image, 2 * page as u64, 1).is_err());
    assert!(memory.map_image(0, &image, 1, 1).is_err());
    assert!(memory.map_image(0, &image, u64::MAX << 20, page).is_err());
}

#[test]
fn images_are_copied_on_write() {
    let page = page_size();
    let mut content = vec![0; 5 * page + 3];
    content[10] = 1;
    content[3 * page..].fill(2);
    let image = MemoryImage::new(&content).unwrap();
    assert_eq!(image.len(), content.len());
    assert!(!image.is_empty());

    let mut expected = content.clone();
    expected.resize(6 * page, 0);
    let memories = [(); 2].map(|()| Reservation::new(16 * page).unwrap());
    for memory in &memories {
        memory.make_accessible(0, 16 * page).unwrap();
        bytes(memory, 0, 16 * page).fill(9);
        memory
            .map_image(4 * page, &image, 0, content.len())
            .unwrap();
        assert_eq!(bytes(memory, 4 * page, 6 * page), expected);
        assert_eq!(bytes(memory, 10 * page, 1)[0], 9);
    }
    bytes(&memories[0], 4 * page, 6 * page).fill(3);
    assert_eq!(bytes(&memories[1], 4 * page, 6 * page), expected);
    memories[0].reset(0, 16 * page).unwrap();
    assert_eq!(bytes(&memories[0], 4 * page, 6 * page), expected);
    assert_eq!(bytes(&memories[0], 0, page), vec![0; page]);

    // A part of it, and after the image itself is gone.
    memories[1]
        .map_image(0, &image, 3 * page as u64, page)
        .unwrap();
    drop(image);
    assert_eq!(bytes(&memories[1], 0, page), vec![2; page]);
}

#[test]
fn an_empty_image() {
    let image = MemoryImage::new(&[]).unwrap();
    assert!(image.is_empty());
    let memory = Reservation::new(page_size()).unwrap();
    memory.map_image(0, &image, 0, 0).unwrap();
    assert!(memory.map_image(0, &image, 0, 1).is_err());
}

#[test]
fn every_thread_knows_where_its_stack_ends() {
    for size in [256 << 10, 3 << 20] {
        std::thread::Builder::new()
            .stack_size(size)
            .spawn(move || {
                let limit = thread_stack_limit().unwrap();
                assert_eq!(thread_stack_limit(), Some(limit));
                let room = stack_pointer() - limit;
                assert!(room <= size + page_size(), "{room} of {size}");
                assert!(room > size / 2, "{room} of {size}");
            })
            .unwrap()
            .join()
            .unwrap();
    }
}
