/** The page's symbols: one path each on a field of 24 × 24; a star in front: filled. */

const LOOP = "M4 11.5A6.5 6.5 0 0 1 10.5 5H18l-3-3m3 3-3 3M20 12.5A6.5 6.5 0 0 1 13.5 19H6l3 3m-3-3 3-3";

export const ICONS = {
	play: "*M8 5v14l11-7z",
	pause: "*M7 6h3v12H7zM14 6h3v12h-3z",
	next: "*M6 7v10l8-5zM18 6v12",
	previous: "*M18 7v10l-8-5zM6 6v12",
	hold: "M9 4h6l-.7 6 3 3H6.7l3-3zM12 13v7",
	panel: "M4 5h16v12H4zM9 20.5h6",
	loop: LOOP,
	library: "M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h6v6h-6z",
	message: "M4 5h16v11h-8l-4.5 4v-4H4z",
	settings: "M4 8h8m6 0h2M4 16h2m6 0h8M12 8a3 3 0 1 0 6 0 3 3 0 1 0-6 0M6 16a3 3 0 1 0 6 0 3 3 0 1 0-6 0",
	add: "M12 5v14M5 12h14",
	check: "m5 12.5 4.5 4.5L19 7.5",
	remove: "m7 7 10 10m0-10L7 17",
	bin: "M4.5 7h15M9.5 7V4.5h5V7m3 0-1 13h-9l-1-13M10 11v5.5m4-5.5v5.5",
	more: "*M4 12a1 1 0 1 0 2 0 1 1 0 1 0-2 0m7 0a1 1 0 1 0 2 0 1 1 0 1 0-2 0m7 0a1 1 0 1 0 2 0 1 1 0 1 0-2 0",
	shuffle: "M3.5 7H7l9 10h4.5l-2.5-2.5m2.5 2.5L18 19.5M3.5 17H7l2.5-2.8m4-4.4L16 7h4.5L18 4.5M20.5 7 18 9.5",
	only: `${LOOP}M11 10.5l1.5-1V15`,
	grip: "M8 5v14M5 8l3-3 3 3M16 19V5m3 11-3 3-3-3",
	upload: "M12 16V5m-4.5 4L12 4.5 16.5 9M4.5 16v4h15v-4",
	camera: "M3 7.5h4.5L9 5h6l1.5 2.5H21V19H3zM8.7 13a3.3 3.3 0 1 0 6.6 0 3.3 3.3 0 1 0-6.6 0",
	search: "M5 11a6 6 0 1 0 12 0 6 6 0 1 0-12 0m10.5 4.5L20 20",
	past: "M4.5 12a7.5 7.5 0 1 0 2.3-5.4L4.5 9m0-4.5V9H9m3-1v4.3l3 1.7",
	warn: "M12 4.5 3.5 19h17zM12 10v4m0 2.5v.01",
};
