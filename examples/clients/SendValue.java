// Send one value over UDP: java SendValue.java PROCESS PATH VALUE
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;

public class SendValue {
    static String setting(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null ? otherwise : value;
    }

    public static void main(String[] words) throws Exception {
        if (words.length != 3) {
            System.err.println("usage: SendValue PROCESS PATH VALUE");
            System.exit(2);
        }
        String line = setting("DATTSS_AUTH_KEY", "") + ":" + String.join(":", words);
        byte[] data = line.getBytes(StandardCharsets.UTF_8);
        InetAddress host = InetAddress.getByName(setting("DATTSS_SERVER_UDP_HOST", "127.0.0.1"));
        int port = Integer.parseInt(setting("DATTSS_SERVER_UDP_PORT", "8127"));
        try (DatagramSocket door = new DatagramSocket()) {
            door.send(new DatagramPacket(data, data.length, host, port));
        }
    }
}
