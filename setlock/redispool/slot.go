package redispool

import "strings"

// slots is the number of slots of a Redis Cluster.
const slots = 16384

// slot returns the slot of a key: the CRC16 of its hash tag, or of the whole key if it has
// none. A hash tag is the text between the first opening brace and the first closing brace
// behind it, if this text is not empty.
func slot(key string) int64 {
	if _, behind, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(behind, "}"); ok && tag != "" {
			key = tag
		}
	}
	return int64(crc16(key)) % slots
}

// crc16 returns the CRC16 of s in the variant XMODEM: the polynomial is 0x1021, and the
// first value 0.
func crc16(s string) (crc uint16) {
	for _, b := range []byte(s) {
		crc ^= uint16(b) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			crc <<= 1
			if carry {
				crc ^= 0x1021
			}
		}
	}
	return crc
}
