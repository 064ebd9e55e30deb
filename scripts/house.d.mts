export declare const arrows: Readonly<Record<string, readonly string[]>>;
export declare const coreRooms: readonly string[];
export declare function allowedRooms(room: string): ReadonlySet<string>;
export declare function roomOf(pathInSrc: string): string | undefined;
