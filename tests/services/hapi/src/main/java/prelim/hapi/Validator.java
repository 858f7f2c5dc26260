package prelim.hapi;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.parser.DataFormatException;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.ValidationResult;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.Executors;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.PrePopulatedValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.SnapshotGeneratingValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.UnknownCodeSystemWarningValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.r5.utils.validation.constants.BestPracticeWarningLevel;

/**
 * HAPI's validator on loopback: {@code java prelim.hapi.Validator PORT}. A resource that is posted to {@code /R4}
 * or {@code /R5} is answered with an OperationOutcome; terminology is what the standard itself carries, offline.
 */
public final class Validator {

    private static final String OBSERVATION_VALUE = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
    private static final List<String> US_CORE =
            List.of("diagnosticreport-note.json", "patient.json", "diagnosticreport-category.json");

    private Validator() {}

    public static void main(String[] arguments) {
        try {
            serve(Integer.parseInt(arguments[0]));
        } catch (Exception broken) {
            broken.printStackTrace();
            System.exit(1);
        }
    }

    private static void serve(int port) throws Exception {
        HttpServer server =
                HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 16);
        release(server, "/R4", FhirContext.forR4Cached(), US_CORE);
        release(server, "/R5", FhirContext.forR5Cached(), List.of());
        // Answered only once both releases are read, so that the first test does not wait for them.
        server.createContext("/health", exchange -> answer(exchange, 200, "{}"));
        server.setExecutor(Executors.newFixedThreadPool(2));
        server.start();
    }

    private static void release(HttpServer server, String path, FhirContext fhir, List<String> profiles)
            throws IOException {
        FhirValidator validator = validator(fhir, profiles);
        check(validator, fhir, "{\"resourceType\": \"DiagnosticReport\"}");
        server.createContext(path, exchange -> {
            String body = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
            try {
                answer(exchange, 200, check(validator, fhir, body));
            } catch (DataFormatException unreadable) {
                answer(exchange, 400, "{\"resourceType\": \"OperationOutcome\"}");
            } catch (RuntimeException broken) {
                broken.printStackTrace();
                answer(exchange, 500, "{\"resourceType\": \"OperationOutcome\"}");
            }
        });
    }

    private static String check(FhirValidator validator, FhirContext fhir, String body) {
        ValidationResult result = validator.validateWithResult(body);
        return fhir.newJsonParser().encodeResourceToString(result.toOperationOutcome());
    }

    private static FhirValidator validator(FhirContext fhir, List<String> profiles) throws IOException {
        DefaultProfileValidationSupport standard = new DefaultProfileValidationSupport(fhir);
        PrePopulatedValidationSupport own = new PrePopulatedValidationSupport(fhir);
        // Both releases carry this code system as it was before HL7 gave it the label for AI.
        if (standard.fetchCodeSystem(OBSERVATION_VALUE) instanceof org.hl7.fhir.r4.model.CodeSystem old) {
            org.hl7.fhir.r4.model.CodeSystem present = old.copy();
            present.addConcept().setCode("AIAST").setDisplay("Artificial Intelligence asserted");
            own.addCodeSystem(present);
        } else if (standard.fetchCodeSystem(OBSERVATION_VALUE) instanceof org.hl7.fhir.r5.model.CodeSystem old) {
            org.hl7.fhir.r5.model.CodeSystem present = old.copy();
            present.addConcept().setCode("AIAST").setDisplay("Artificial Intelligence asserted");
            own.addCodeSystem(present);
        }
        for (String name : profiles) {
            try (InputStream file = Validator.class.getResourceAsStream("/us-core/" + name)) {
                own.addResource(fhir.newJsonParser().parseResource(file));
            }
        }
        // LOINC, SNOMED CT and RadLex are not here: a code of theirs is a warning, never an error.
        UnknownCodeSystemWarningValidationSupport absent = new UnknownCodeSystemWarningValidationSupport(fhir);
        absent.setNonExistentCodeSystemSeverity(IValidationSupport.IssueSeverity.WARNING);
        ValidationSupportChain chain = new ValidationSupportChain(
                own,
                standard,
                new CommonCodeSystemsTerminologyService(fhir),
                new InMemoryTerminologyServerValidationSupport(fhir),
                new SnapshotGeneratingValidationSupport(fhir),
                absent);
        FhirInstanceValidator rules = new FhirInstanceValidator(chain);
        rules.setBestPracticeWarningLevel(BestPracticeWarningLevel.Ignore);
        rules.setErrorForUnknownProfiles(true);
        return fhir.newValidator().registerValidatorModule(rules);
    }

    private static void answer(HttpExchange exchange, int status, String body) throws IOException {
        byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "application/fhir+json");
        exchange.sendResponseHeaders(status, bytes.length);
        exchange.getResponseBody().write(bytes);
        exchange.close();
    }
}
